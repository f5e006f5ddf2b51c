// The third tab: what the server's metrics say, every two seconds, as rates over the last half minute.

import {text} from './api.js';
import {drawColumns, drawLines} from './chart.js';
import {css, expertColour} from './colours.js';
import {byId, element} from './dom.js';
import {bytes, figure, percent, seconds} from './format.js';
import {tell, tellError} from './notices.js';
import {PATIENCE_MS, startPolling} from './polling.js';
import {histogram, parse, perBucket, quantile, select, since, total} from './prometheus.js';
import {STAGES} from './routing.js';

const PERIOD_MS = 2000;
const WINDOW_S = 30;
const KEPT_S = 300;
const MEBIBYTE = 2 ** 20;
const QUANTILES = [0.5, 0.95, 0.99];

let scrapes = [];  // [{time, scrape}], the newest last
let history = [];  // [{time, requests, failures, latency: [], queue, resident}]
let timer = null;

// The oldest scrape of the window that ends now.
function windowStart(now) {
  return scrapes.find(({time}) => time >= now - WINDOW_S) ?? scrapes[0];
}

function rate(now, before, name, wanted) {
  const change = (total(now.scrape, name, wanted) ?? 0) - (total(before.scrape, name, wanted) ?? 0);
  return now.time > before.time ? Math.max(0, change) / (now.time - before.time) : NaN;
}

function latest(now) {
  const before = windowStart(now.time);
  const all = rate(now, before, 'deweather_restore_requests_total');
  const good = rate(now, before, 'deweather_restore_requests_total', {code: 'OK'});
  const times = since(histogram(now.scrape, 'deweather_restore_seconds'), histogram(before.scrape, 'deweather_restore_seconds'));
  return {
    time: now.time,
    requests: good,
    failures: Math.max(0, all - good),
    latency: QUANTILES.map((q) => quantile(q, times)),
    queue: total(now.scrape, 'deweather_queue_tiles') ?? NaN,
    resident: total(now.scrape, 'process_resident_memory_bytes') ?? NaN,
  };
}

const points = (pick) => history.map((entry) => [entry.time, pick(entry)]);

function drawHistory(place, names, picks, more, label) {
  const end = history.at(-1).time;
  const series = names.map((name, i) => ({name, points: points(picks[i])}));
  drawLines(byId(place), {series, label, formatX: (time) => (time >= end ? 'now' : `${Math.round(end - time)} s ago`),
                          rangeX: [Math.min(history[0].time, end - 60), end], ...more});
}

function setFigure(id, value) {
  byId(id).textContent = value;
}

function drawRates(entry) {
  setFigure('requests-now', `${figure(entry.requests + entry.failures)} /s`);
  drawHistory('requests-chart', ['restored', 'failed or refused'], [(e) => e.requests, (e) => e.failures], {},
              `Requests a second: ${figure(entry.requests)} restored, ${figure(entry.failures)} failed or refused`);
  setFigure('latency-now', seconds(entry.latency[1]));
  drawHistory('latency-chart', ['half', '95 %', '99 %'], QUANTILES.map((_, i) => (e) => e.latency[i]), {formatY: seconds},
              `Latency within which half, 95 % and 99 % of the requests ended: ${entry.latency.map(seconds).join(', ')}`);
  setFigure('queue-now', figure(entry.queue));
  drawHistory('queue-chart', ['tiles'], [(e) => e.queue], {least: 1}, `Tiles that wait: ${figure(entry.queue)}`);
  setFigure('memory-now', bytes(entry.resident));
  drawHistory('memory-chart', ['resident'], [(e) => e.resident / MEBIBYTE], {formatY: (value) => `${figure(value)} MiB`}, `Resident memory: ${bytes(entry.resident)}`);
}

function drawBatches(now) {
  const start = scrapes[0];
  const fresh = since(histogram(now.scrape, 'deweather_batch_tiles'), histogram(start.scrape, 'deweather_batch_tiles'));
  const known = fresh.at(-1)?.count > 0 ? fresh : histogram(now.scrape, 'deweather_batch_tiles');
  const columns = perBucket(known).map(({bound, count}, i, all) => (
    {name: Number.isFinite(bound) ? `≤${bound}` : `>${all[i - 1]?.bound ?? 0}`, value: count}));
  const batches = known.at(-1)?.count ?? 0;
  setFigure('batches-now', batches === 1 ? '1 batch' : `${figure(batches)} batches`);
  drawColumns(byId('batches-chart'), {columns, least: 1, label: `Batches by their number of tiles, ${figure(batches)} in all`});
}

// Mean time in each stage; of nothing new since the window began, since the server did.
function meanOf(stage, now, before) {
  const change = (part) => {
    const [late, early] = [now, before].map(({scrape}) => total(scrape, `deweather_stage_seconds_${part}`, {stage}) ?? 0);
    return {late, fresh: late - early};
  };
  const [time, count] = [change('sum'), change('count')];
  return count.fresh > 0 ? time.fresh / count.fresh : time.late / Math.max(1, count.late);
}

function drawStages(now) {
  const before = windowStart(now.time);
  const columns = STAGES.map((stage) => ({name: stage, value: meanOf(stage, now, before)}));
  drawColumns(byId('stages-chart'), {columns, format: seconds, label: `Mean time by stage: ${
      columns.map(({name, value}) => `${name} ${seconds(value)}`).join(', ')}`});
}

// Shares of a layer's tokens by expert, since the server's start.
function layerChart(layer, samples) {
  const kept = samples.reduce((sum, sample) => sum + sample.value, 0);
  const columns = samples.map(({labels, value}) => (
    {name: `Expert ${labels.expert}`, value: kept > 0 ? value / kept : 0, colour: css(expertColour(Number(labels.expert)))}));
  const place = element('div', {class: 'layer-chart'});
  const busiest = columns.reduce((most, column) => (column.value > most.value ? column : most), {name: '', value: 0});
  const label = `Layer ${Number(layer) + 1}: ${busiest.name} has the largest share, ${percent(busiest.value, 1)}`;
  return {title: `Layer ${Number(layer) + 1}`, place, draw: () => drawColumns(place, {columns, label, height: 110, named: false, format: (share) => percent(share)})};
}

function drawRouting(now) {
  const samples = select(now.scrape, 'deweather_expert_tokens_total');
  byId('experts-card').hidden = samples.length === 0;
  const layers = Map.groupBy(samples, (sample) => sample.labels.layer);
  const charts = [...layers].sort(([a], [b]) => a - b).map(([layer, its]) => layerChart(layer, its.sort((a, b) => a.labels.expert - b.labels.expert)));
  byId('experts-chart').replaceChildren(...charts.map(({title, place}) => element('div', {}, element('h4', {}, title), place)));
  for (const {draw} of charts) draw();
}

function drawFacts(now) {
  const value = (name, wanted) => total(now.scrape, name, wanted);
  const started = value('process_start_time_seconds');
  const rows = [
    ['Version', select(now.scrape, 'deweather_build_info')[0]?.labels.version],
    ['Live', select(now.scrape, 'deweather_model_info').map(({labels}) => `${labels.model} ${labels.version}`).join(', ')],
    ['Up for', started && seconds(Date.now() / 1000 - started)],
    ['In flight', figure(value('deweather_inflight_requests') ?? NaN)],
    ['Oldest tile waits', seconds(value('deweather_queue_oldest_seconds') ?? NaN)],
    ['Connections', figure(value('deweather_connections') ?? NaN)],
  ];
  byId('server-facts').replaceChildren(...rows.filter(([, word]) => word).map(([name, word]) => (
    element('div', {}, element('dt', {}, name), element('dd', {}, word)))));
}

function take(scrape) {
  const now = {time: performance.now() / 1000, scrape};
  scrapes = [...scrapes.filter(({time}) => time >= now.time - 2 * WINDOW_S), now];
  history = [...history.filter(({time}) => time >= now.time - KEPT_S), latest(now)];
  drawRates(history.at(-1));
  drawStages(now);
  drawBatches(now);
  drawRouting(now);
  drawFacts(now);
}

async function scrapeOnce() {
  try {
    take(parse(await text('/metrics', {signal: AbortSignal.timeout(PATIENCE_MS)})));
    byId('metrics').hidden = false;
    tell(byId('metrics-status'), '');
  } catch (error) {
    tellError(byId('metrics-status'), error);
    if (error.wantsToken) stopMetrics();
  }
}

export function showMetrics() {
  stopMetrics();
  timer = startPolling(scrapeOnce, PERIOD_MS);
  byId('metrics').hidden = false;
  return scrapeOnce();
}

export function stopMetrics() {
  clearInterval(timer);
  timer = null;
}
