// A list of gradio's opens again when Tab leaves it, because it looks at every key after the focus has moved.
addEventListener("keydown", (event) => {
  if (event.key === "Tab" && event.target.matches?.("[role=combobox]")) event.stopPropagation();
}, true);
