// Times in the reader's zone, and a page that is read anew once what it shows is decided. Without it every
// page works: times are in UTC, and a form that comes too late is told so.
for (const time of document.querySelectorAll('time[datetime]')) {
  const at = new Date(time.dateTime);
  time.title = time.textContent;
  time.textContent = at.toLocaleString('en-GB', {
    day: 'numeric',
    month: 'short',
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
    timeZoneName: 'short',
  });
}

const shown = document.querySelector('[data-state]');
if (shown !== null) {
  const { state, live } = shown.dataset;
  const look = async () => {
    if (document.hidden) return;
    const answer = await fetch(`${live}/state`, { headers: { accept: 'text/plain' }, redirect: 'error' });
    if (answer.ok && (await answer.text()) !== state) location.reload();
  };
  // A stream tells it at once. A browser opens few connections to one place: a page that nobody looks at has
  // none, and where there is none to be had, the page asks now and then.
  let events = null;
  let asking = null;
  const listen = () => {
    if (asking !== null || (events === null) === document.hidden) return;
    if (document.hidden) {
      events.close();
      events = null;
      return;
    }
    events = new EventSource(`${live}/events?state=${encodeURIComponent(state)}`);
    events.onmessage = ({ data }) => {
      if (data !== state) location.reload();
    };
    events.onerror = () => {
      if (events?.readyState !== EventSource.CLOSED) return;
      asking = setInterval(() => look().catch(() => {}), 3000);
    };
  };
  document.addEventListener('visibilitychange', listen);
  listen();
}
