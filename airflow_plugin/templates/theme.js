// Airflow has a switch of its own for light and dark: the pages inside it follow that, and not the system's.
(() => {
  const outer = window.parent === window ? null : window.parent.document.documentElement;
  if (!outer) return;
  const queries = [];
  for (const sheet of document.styleSheets)
    for (const rule of sheet.cssRules)
      if (rule.media?.mediaText.includes("prefers-color-scheme: dark")) queries.push(rule.media);
  const follow = () => {
    const dark = outer.classList.contains("dark");
    for (const query of queries) query.mediaText = dark ? "all" : "not all";
    document.documentElement.style.colorScheme = dark ? "dark" : "light";
  };
  follow();
  new MutationObserver(follow).observe(outer, { attributes: true, attributeFilter: ["class"] });
})();
