// Before the first paint: the theme that was chosen here before. Without a choice the system's holds.
"use strict";
try {
  const chosen = localStorage.getItem("sluice-theme");
  if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
} catch (error) {
  console.info("no storage here, so the theme is not kept", error.name);
}
