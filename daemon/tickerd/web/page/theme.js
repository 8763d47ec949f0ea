// Runs before the page is painted, so that a chosen theme never flashes in the other one.
(() => {
  try {
    const chosen = localStorage.getItem("tickerd.theme");
    if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  } catch {
    // Without storage the system's colours it is.
  }
})();
