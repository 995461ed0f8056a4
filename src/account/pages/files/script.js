// Comfort for the pages of the account. Every page also works without this script. All texts are in the page.
'use strict';

const language = document.documentElement.lang;
const liveRegion = document.getElementById('status');

// Times: keep the relative ones up to date, and show the exact ones in the reader's time zone.
const UNITS = [['day', 86400], ['hour', 3600], ['minute', 60]];
const relative = new Intl.RelativeTimeFormat(language, { numeric: 'always' });
const exact = new Intl.DateTimeFormat(language, { dateStyle: 'long', timeStyle: 'short' });

function updateTimes() {
  for (const element of document.querySelectorAll('time[datetime]')) {
    const seconds = (Date.parse(element.dateTime) - Date.now()) / 1000;
    const unit = UNITS.find(([, length]) => Math.abs(seconds) >= length);
    if (unit) element.textContent = relative.format((seconds > 0 ? Math.round : Math.trunc)(seconds / unit[1]), unit[0]);
  }
}

for (const element of document.querySelectorAll('time[datetime]')) {
  element.title = exact.format(new Date(element.dateTime));
}
setInterval(updateTimes, 30000);

// The end of a wait. Screen readers hear only the end, not every second.
for (const element of document.querySelectorAll('[data-seconds]')) {
  const end = Date.now() + 1000 * Number(element.dataset.seconds);
  const format = (number, unit) =>
    new Intl.NumberFormat(language, { style: 'unit', unit, unitDisplay: 'long' }).format(number);
  const timer = setInterval(() => {
    const left = Math.ceil((end - Date.now()) / 1000);
    if (left <= 0) {
      clearInterval(timer);
      element.textContent = element.dataset.over;
      liveRegion.textContent = element.dataset.over;
      return;
    }
    const time = left <= 120 ? format(left, 'second') : format(Math.ceil(left / 60), 'minute');
    element.textContent = element.dataset.remaining.replace('{time}', time);
  }, 500);
}

// Copy buttons. Browsers offer the clipboard only over https and on the machine itself.
for (const button of document.querySelectorAll('button[data-copy]')) {
  const field = document.getElementById(button.dataset.copy);
  button.hidden = false;
  button.addEventListener('click', async () => {
    field.focus();
    field.select();
    try {
      await navigator.clipboard.writeText(field.value);
    } catch {
      if (!document.execCommand('copy')) return;
    }
    liveRegion.textContent = '';
    liveRegion.textContent = button.dataset.copied;
    button.textContent = button.dataset.copied;
  });
}

// A page with a secret must not be loaded by sending its form again, and a notice must not be shown again.
const shownOnce = document.querySelector('[data-reload]');
if (shownOnce) {
  history.replaceState(null, '', shownOnce.dataset.reload);
} else if (new URLSearchParams(location.search).has('notice')) {
  const url = new URL(location.href);
  url.searchParams.delete('notice');
  history.replaceState(null, '', url);
}

// Submit a form only once.
for (const form of document.querySelectorAll('form[method=post]')) {
  form.addEventListener('submit', event => {
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = 'true';
  });
}
addEventListener('pageshow', () => {
  for (const form of document.querySelectorAll('form[data-sent]')) delete form.dataset.sent;
});
