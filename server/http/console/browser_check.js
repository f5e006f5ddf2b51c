// Says that a browser is too old for the page, in a script that such a one can read. Whoever has these has all else.
if (!window.Map || !Map.groupBy || !window.CSS || !CSS.supports('selector(:has(a))')) {
  document.getElementById('too-old').hidden = false;
}
