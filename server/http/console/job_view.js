// One job: its state, its loss while it learns, what it prints, and what can be done with it.

import {call} from './api.js';
import {toBytes} from './base64.js';
import {drawLines} from './chart.js';
import {byId, element} from './dom.js';
import {follow} from './follow.js';
import {durationSeconds, figure, moment, number, percent, seconds} from './format.js';
import {tell, tellError} from './notices.js';

const LOG_CHARACTERS = 60000;
const WARNINGS = 20;  // the newest
const ENDED = new Set(['STATE_SUCCEEDED', 'STATE_FAILED', 'STATE_CANCELLED']);

export const stateWord = (job) => (job.state ?? '').replace('STATE_', '').toLowerCase();
export const hasEnded = (job) => ENDED.has(job.state);

export function stateChip(job) {
  return element('span', {class: `state state-${stateWord(job)}`}, stateWord(job));
}

export function progressBar(job) {
  const progress = job.progress ?? {};
  const label = `Job ${job.id}: step ${number(progress.step)} of ${number(progress.steps)}`;
  return element('progress', {max: Math.max(1, number(progress.steps)), value: number(progress.step), 'aria-label': label});
}

export class JobView {
  // `changed(job)` is called when the server says something new of it.
  constructor(changed) {
    this.changed = changed;
    this.job = null;
    byId('cancel-job').addEventListener('click', () => this.#act('TrainingService/CancelJob', {id: this.job.id, reason: 'cancelled in the console'}));
    byId('resume-job').addEventListener('click', () => this.#act('TrainingService/ResumeJob', {id: this.job.id}));
    byId('promote-job').addEventListener('click', () => this.#askPromotion());
    byId('promote-form').addEventListener('submit', (event) => this.#promote(event));
    byId('promote-cancel').addEventListener('click', () => byId('promote-dialog').close());
    new ResizeObserver(() => this.#showSoon()).observe(byId('job-chart'));
  }

  // Follows another job, from its first event.
  open(job) {
    this.close();
    this.job = job;
    this.lastEvent = 0;
    this.broken = false;
    this.losses = [];
    this.log = {text: '', end: -1, decoder: new TextDecoder()};
    byId('job-log').textContent = '';
    byId('job-warnings').replaceChildren();
    tell(byId('job-status'), '');
    byId('job-detail').hidden = false;
    this.#show();
    this.resume();
  }

  close() {
    this.pause();
    this.job = null;
    byId('job-detail').hidden = true;
  }

  // A browser has few connections to one server: streams of a page that nobody sees would take those of another.
  pause() {
    this.watching?.abort();
    this.watching = null;
  }

  // Goes on behind the last event, and the last byte of the log, that came.
  resume() {
    if (!this.job || this.watching) return;
    this.watching = new AbortController();
    this.#watch(this.watching.signal);
    this.#readLog(this.watching.signal);
  }

  // What a list says of the job that is open.
  update(job) {
    this.job = job;
    this.#show();
  }

  async #watch(signal) {
    const request = () => ({id: this.job.id, afterEvent: this.lastEvent});
    try {
      await follow('TrainingService/WatchJob', request, (event) => this.#take(event), {signal, broken: () => this.#setBroken(true)});
      if (!signal.aborted) await this.#refresh();
    } catch (error) {
      if (!signal.aborted) tellError(byId('job-status'), error);
    }
  }

  #setBroken(broken) {
    if (broken !== this.broken) tell(byId('job-status'), broken ? 'The connection broke off; it is tried again.' : '');
    this.broken = broken;
  }

  // Of a long log only the end is kept, and it is not sent before that. Where its beginning was rotated away, the file
  // is shorter than the log, and more is sent.
  async #findLogEnd(log, signal) {
    const {message} = await call('TrainingService/ListCheckpoints', {id: this.job.id}, {signal});
    const file = (message.artifacts ?? []).find(({name}) => name === 'log.txt');
    log.end = Math.max(0, number(file?.bytes) - LOG_CHARACTERS);
  }

  async #readLog(signal) {
    const {log} = this;
    if (log.end < 0) await this.#findLogEnd(log, signal).catch(() => {});
    if (signal.aborted) return;
    const request = () => ({id: this.job.id, offset: Math.max(0, log.end), follow: true});
    await follow('TrainingService/StreamLogs', request, (chunk) => this.#print(chunk), {signal}).catch((error) => {
      if (signal.aborted) return;
      this.log.text += `\n(${error.message})`;
      this.#showSoon();
    });
  }

  #take(event) {
    this.lastEvent = number(event.number);
    this.#setBroken(false);
    if (event.stateChange) {
      Object.assign(this.job, {state: event.stateChange.state, reason: event.stateChange.reason});
      this.changed(this.job);
    } else if (event.progress) {
      this.job.progress = event.progress;
      const step = number(event.progress.step);
      // Another attempt goes back to its checkpoint.
      if (step <= this.losses.at(-1)?.[0]) this.losses = this.losses.filter(([before]) => before < step);
      this.losses.push([step, number(event.progress.loss)]);
    } else if (event.evaluation) {
      this.job.evaluation = event.evaluation;
    }
    if (event.warning) this.#warn(event.warning);
    this.#showSoon();
  }

  #warn(text) {
    const list = byId('job-warnings');
    list.append(element('li', {}, text));
    if (list.children.length > WARNINGS) list.firstChild.remove();
  }

  #print(chunk) {
    const data = toBytes(chunk.data);
    this.log.end = number(chunk.offset) + data.length;
    this.log.text = (this.log.text + this.log.decoder.decode(data, {stream: true})).slice(-LOG_CHARACTERS);
    this.#showSoon();
  }

  #showLog() {
    const place = byId('job-log');
    if (this.log.shown === this.log.text) return;
    const atEnd = place.scrollTop + place.clientHeight >= place.scrollHeight - 8;
    this.log.shown = place.textContent = this.log.text;
    if (atEnd) place.scrollTop = place.scrollHeight;
  }

  async #refresh() {
    const {message} = await call('TrainingService/GetJob', {id: this.job.id});
    if (this.job?.id !== message.id) return;
    this.update(message);
    this.changed(message);
  }

  #show() {
    const {job} = this;
    const held = document.activeElement;
    byId('job-title').replaceChildren(job.model ?? '', ' ', stateChip(job));
    byId('job-reason').textContent = job.reason ?? '';
    byId('cancel-job').disabled = hasEnded(job) || job.state === 'STATE_CANCELLING';
    byId('resume-job').hidden = !['STATE_FAILED', 'STATE_CANCELLED'].includes(job.state);
    byId('promote-job').disabled = !job.modelVersion;
    // A button that is gone leaves the focus with what it was for.
    if (held?.closest('#job-detail') && (held.disabled || held.hidden)) byId('job-title').focus();
    byId('job-facts').replaceChildren(...this.#facts().map(([name, value]) => (
      element('div', {}, element('dt', {}, name), element('dd', {}, value)))));
    this.#showLog();
    this.#draw();
  }

  #facts() {
    const {job} = this;
    const progress = job.progress ?? {};
    const done = number(progress.step) / Math.max(1, number(progress.steps));
    const left = durationSeconds(progress.remaining);
    const quality = Object.entries(job.evaluation?.figures ?? {}).filter(([name]) => /psnr_rgb|ssim_rgb/.test(name));
    return [
      ['Job', job.id],
      ['Submitted', moment(job.createTime)],
      ['Progress', `step ${number(progress.step)} of ${number(progress.steps)}, ${percent(done)}`],
      ['Loss', figure(progress.loss === undefined ? NaN : number(progress.loss))],
      ['Speed', `${figure(number(progress.imagesPerSecond))} crops/s`],
      ...(left > 0 && !hasEnded(job) ? [['Remaining', seconds(left)]] : []),
      ...quality.map(([name, value]) => [name, figure(value)]),
      ...(job.modelVersion ? [['Version', job.modelVersion]] : []),
    ];
  }

  // Events may come by the hundred: they are shown once a frame.
  #showSoon() {
    if (this.drawing || !this.job) return;
    this.drawing = requestAnimationFrame(() => {
      this.drawing = null;
      if (this.job) this.#show();
    });
  }

  #draw() {
    const points = this.losses;
    const steps = number(this.job.progress?.steps);
    const last = points.at(-1);
    const label = last ? `Loss by step: ${figure(last[1])} at step ${last[0]} of ${steps}` : 'Loss by step: nothing yet';
    drawLines(byId('job-chart'), {series: [{name: 'loss', points}], label, rangeX: [0, last?.[0] ?? 1], formatX: (step) => `step ${figure(step)}`});
  }

  async #act(method, message) {
    try {
      const {message: job} = await call(method, message);
      tell(byId('job-status'), job.id === this.job.id ? '' : `Job ${job.id} goes on from here.`, 'done');
      if (job.id === this.job.id) this.update(job);
      this.changed(job);
    } catch (error) {
      tellError(byId('job-status'), error);
    }
  }

  #askPromotion() {
    byId('promote-what').textContent = `${this.job.model}, version ${this.job.modelVersion}, from job ${this.job.id}`;
    tell(byId('promote-status'), '');
    byId('promote-dialog').showModal();
  }

  async #promote(event) {
    event.preventDefault();
    const share = Number(byId('promote-share').value);
    byId('promote-confirm').disabled = true;
    tell(byId('promote-status'), 'The version is loaded and warmed …');
    try {
      const {message: model} = await call('ModelService/PromoteModel', {job: this.job.id, canaryPercent: share < 100 ? share : 0});
      byId('promote-dialog').close();
      tell(byId('job-status'), share < 100 ? `${model.name} ${model.canaryVersion} is on trial for ${share} % of its requests.` :
          `${model.name} ${model.liveVersion} is live.`, 'done');
      this.changed(this.job);
    } catch (error) {
      tellError(byId('promote-status'), error);
    } finally {
      byId('promote-confirm').disabled = false;
    }
  }
}
