"""HHSFT ranks the candidates of a search: p_click and p_pay of (user, query, item), learnt from search, rec and shop together.

Formula, for a sample of domain t: tokens -> HFA -> GFA -> h; e = alpha_s f_shared(h) + alpha_t f_t(h); r_k = g_k(e);
o = softmax(r_t K' / sqrt(d)) K with K = {r_t} + {sg(r_k), k != t}; logits = Head_t(sigmoid(FFN(user tokens, domain token)) * o);
p_click = sigmoid(logit_1), p_pay = p_click * sigmoid(logit_2). L = L_search + 0.5 L_rec + 0.5 L_shop.
Paper: UniScale (arXiv 2603.24226), HHSFT. It states the structure and neither sizes, norms, sequence encoder, optimiser nor loss.
Departs: sizes, pre-RMSNorm, SwiGLU, residuals and the low-rank form of composite projections (whole matrices, as HiFormer) are our
choice. One sequence of all behaviours with its type, domain and age embedded stands for separate click, cart and pay sequences; its
attention may also rest on a learnt nothing. The pay head gives p_pay given a click, so that pay is learnt over the entire space.
Reads hhsft_examples. Baselines: popularity of the item, DLRM, RankMixer, and HHFI, which is this model with one head and no routing.
"""

TABLE = "hhsft_examples"
