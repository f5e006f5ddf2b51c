// The second tab: the server's training jobs.

import {call} from './api.js';
import {byId, element} from './dom.js';
import {moment} from './format.js';
import {loadDatasets, startJobForm} from './job_form.js';
import {JobView, hasEnded, progressBar, stateChip} from './job_view.js';
import {tell, tellError} from './notices.js';
import {PATIENCE_MS, startPolling} from './polling.js';

const REFRESH_MS = 3000;
const LISTED = 50;
// The server runs no jobs, and another try would not change that.
const NO_JOBS = {
  NO_DATA_FOLDER: 'This server has no data folder, and so no training jobs.',
  JOBS_OFF: 'This server is configured not to run training jobs.',
  JOBS_ELSEWHERE: 'Another server of the same data folder runs the training jobs.',
};

let view;
let timer = null;

// The entry of each listed job by its id: one stays the same element, so that a list that is drawn anew takes neither
// the focus nor a click away.
const entries = new Map();

function entryOf(id) {
  if (!entries.has(id)) {
    const button = element('button', {type: 'button', class: 'job', onclick: () => open(entries.get(id).job)});
    entries.set(id, {item: element('li', {}, button), button});
  }
  return entries.get(id);
}

function fill(entry, job) {
  entry.job = job;
  entry.button.replaceChildren(
    element('span', {class: 'job-head'}, element('strong', {}, job.model), stateChip(job)),
    element('span', {class: 'muted'}, `${job.id} · ${moment(job.createTime)}`),
    ...(hasEnded(job) ? [] : [progressBar(job)]));
}

function markOpen() {
  for (const [id, {button}] of entries) {
    if (view.job?.id === id) button.setAttribute('aria-current', 'true');
    else button.removeAttribute('aria-current');
  }
}

function open(job) {
  view.open(job);
  markOpen();
}

function show(jobs) {
  const listed = new Set(jobs.map((job) => job.id));
  for (const [id, {item}] of entries) {
    if (listed.has(id)) continue;
    item.remove();
    entries.delete(id);
  }
  jobs.forEach((job, place) => {
    const entry = entryOf(job.id);
    fill(entry, job);
    const there = byId('job-list').children[place];
    if (there !== entry.item) byId('job-list').insertBefore(entry.item, there ?? null);
  });
  byId('no-job-yet').hidden = jobs.length > 0;
  if (!view.job && jobs.length > 0) open(jobs[0]);
}

function available(reason) {
  byId('jobs-unavailable').hidden = !reason;
  byId('jobs-unavailable').textContent = reason ?? '';
  byId('jobs').hidden = Boolean(reason);
}

async function refresh() {
  try {
    const {message} = await call('TrainingService/ListJobs', {pageSize: LISTED}, {signal: AbortSignal.timeout(PATIENCE_MS)});
    available(null);
    show(message.jobs ?? []);
    tell(byId('jobs-status'), '');
  } catch (error) {
    if (NO_JOBS[error.reason]) available(`${NO_JOBS[error.reason]} (${error.message})`);
    else tellError(byId('jobs-status'), error);
    if (NO_JOBS[error.reason] || error.wantsToken) stopJobs();
  }
}

// While the tab is shown.
export async function showJobs() {
  stopJobs();
  view.resume();
  timer = startPolling(refresh, REFRESH_MS);
  await refresh();
  if (!byId('jobs').hidden) await loadDatasets().catch((error) => tellError(byId('job-form-status'), error));
}

export function stopJobs() {
  view.pause();
  clearInterval(timer);
  timer = null;
}

export function startJobs(modelsChanged) {
  view = new JobView((job) => {
    refresh();
    if (job.modelVersion) modelsChanged();
  });
  document.addEventListener('visibilitychange', () => {
    if (document.hidden) view.pause();
    else if (timer !== null) view.resume();
  });
  startJobForm(async (job) => {
    await refresh();
    open(job);
  });
}
