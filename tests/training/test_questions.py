"""Questions read from two files, and lists measured by them: unknown queries, items off the shelf, groups."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from training.questions import ANSWERS, QUESTIONS, measured_lists, read_questions
from training.retriever import Examples
from training.tensors import Ragged


@pytest.fixture
def questions(tmp_path):
    asked = {"query_norm": ["b", "a"], "query_tokens": [[3], [1, 2]], "groups": [["tail"], ["head", "plain"]]}
    told = {"query_norm": ["b", "c", "a", "b", "b"], "item_hash": [30, 10, 10, 20, 99], "gain": [1.0, 1.0, 3.0, 0.2, 1.0]}
    pq.write_table(pa.table(asked), tmp_path / QUESTIONS)
    pq.write_table(pa.table(told), tmp_path / ANSWERS)
    return read_questions(tmp_path, good=1.0)


def test_questions_are_in_the_order_of_their_names_whatever_that_of_the_files(questions):
    assert (
        questions.names == ["a", "b"] and questions.tokens.values.tolist() == [1, 2, 3] and questions.tokens.offsets.tolist() == [0, 2, 3]
    )
    assert questions.groups == {"all": [True, True], "head": [True, False], "plain": [True, False], "tail": [False, True]}
    assert questions.query_T.tolist() == [0, 1, 1, 1] and questions.hash_T.tolist() == [10, 20, 30, 99]  # nobody asks c


def test_lists_are_measured_by_items_on_the_shelf_alone(questions):
    none = Ragged(torch.empty(0, dtype=torch.int64), torch.zeros(1, dtype=torch.int64))
    examples = Examples(torch.tensor([10, 20, 30, 40]), none, none, {}, none, torch.tensor([0, 1, 3]), [], [])  # 30 is off the shelf
    found = measured_lists(torch.tensor([[0, 3], [1, 0]]), examples, questions)
    head = {"queries": 1, "hr@50": 1.0, "good_rate@10": pytest.approx(0.1), "good_lists@10": None, "ndcg@10": 1.0}
    assert found["head"] == head
    assert found["tail"]["ndcg@10"] == 1.0 and found["tail"]["hr@50"] is None  # of b only an item of little use is left
    assert found["all"]["queries"] == 2
