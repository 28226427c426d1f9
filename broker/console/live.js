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

const live = document.querySelector('[data-state]');
if (live !== null) {
  const { state, stateUrl } = live.dataset;
  const look = async () => {
    if (document.hidden) return;
    const answer = await fetch(stateUrl, { headers: { accept: 'text/plain' }, redirect: 'error' });
    if (answer.ok && (await answer.text()) !== state) location.reload();
  };
  setInterval(() => look().catch(() => {}), 3000);
}
