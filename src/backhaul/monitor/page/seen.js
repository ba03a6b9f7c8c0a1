// Requests that are made only while a part of the page is visible.

/** Call `ask` while `card` is visible. Each call returns the milliseconds until the next one.
 *  Return a function that asks at once, or as soon as the card is visible. */
export function whileSeen(card, ask) {
  let inSight = false;
  let timer = null;
  const isWanted = () => inSight && !document.hidden;

  async function run() {
    clearTimeout(timer);
    timer = null;
    const pause = await ask();
    clearTimeout(timer);
    timer = isWanted() ? setTimeout(run, pause) : null;
  }

  function wake() {
    if (isWanted() && timer === null) run();
  }

  new IntersectionObserver(([entry]) => {
    inSight = entry.isIntersecting;
    wake();
  }, { rootMargin: "200px" }).observe(card);
  document.addEventListener("visibilitychange", wake);
  return () => {
    clearTimeout(timer);
    timer = null;
    wake();
  };
}
