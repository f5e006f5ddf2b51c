// Looks again and again while the page is seen, but never before the last look has ended.

export const PATIENCE_MS = 10000;  // with an answer

// Answers what clearInterval ends it with; `look` is an async function that throws nothing.
export function startPolling(look, periodMs) {
  let looking = false;
  return setInterval(async () => {
    if (looking || document.hidden) return;
    looking = true;
    await look();
    looking = false;
  }, periodMs);
}
