// Tabs as the ARIA practices have them: arrow keys, Home and End move between them; the address keeps which one.

// `shown(name)` is called whenever one is shown. A tab's name is the part of its id behind "tab-".
export function startTabs(list, shown) {
  const tabs = [...list.querySelectorAll('[role=tab]')];
  const nameOf = (tab) => tab.id.slice('tab-'.length);

  function show(tab) {
    for (const other of tabs) {
      const chosen = other === tab;
      other.setAttribute('aria-selected', chosen);
      other.tabIndex = chosen ? 0 : -1;
      document.getElementById(other.getAttribute('aria-controls')).hidden = !chosen;
    }
    history.replaceState(null, '', `#${nameOf(tab)}`);
    shown(nameOf(tab));
  }

  function moved(key, index) {
    const last = tabs.length - 1;
    const steps = {ArrowRight: (index + 1) % tabs.length, ArrowLeft: index > 0 ? index - 1 : last, Home: 0, End: last};
    return tabs[steps[key]];
  }

  tabs.forEach((tab, index) => {
    tab.addEventListener('click', () => show(tab));
    tab.addEventListener('keydown', (event) => {
      const next = moved(event.key, index);
      if (!next) return;
      event.preventDefault();
      show(next);
      next.focus();
    });
  });
  show(tabs.find((tab) => `#${nameOf(tab)}` === location.hash) ?? tabs[0]);
}
