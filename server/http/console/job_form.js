// The form that submits a training job. Its fields are views of one configuration, the JSON of a TrainConfig, which
// is what is sent: a field changes its own part of it, and whatever else stands there stays.

import {call} from './api.js';
import {byId, element, isBusy, setBusy} from './dom.js';
import {number} from './format.js';
import {tell, tellError} from './notices.js';

const DEFAULTS = {
  name: 'console',
  model: {kind: 'KIND_FME', embedDim: 192, heads: 4, headDim: 48, channels: 16, tailScale: 2, experts: 16, kept: 4, residual: true},
  data: {},
  batch: 8,
  steps: 2000,
  optimizer: {learningRate: 0.0005},
  precision: 'PRECISION_BF16',
  logEverySteps: 10,
  checkpointEverySteps: 500,
};

let datasets = [];

// The part of a configuration that each field shows, and how it is put back.
const FIELDS = {
  'job-name': {get: (c) => c.name, set: (c, text) => { c.name = text; }},
  'job-steps': {get: (c) => c.steps, set: (c, text) => { c.steps = Number(text); }},
  'job-batch': {get: (c) => c.batch, set: (c, text) => { c.batch = Number(text); }},
  'job-dataset': {get: datasetOf, set: setDataset},
  'job-weather': {get: (c) => c.data?.clean?.[0]?.weather ?? 'rain', set: setWeather},
  'job-init': {get: (c) => c.initFrom, set: (c, text) => { setOrDrop(c, 'initFrom', text); }},
};

function setOrDrop(object, name, value) {
  if (value) object[name] = value;
  else delete object[name];
}

const kindOf = (name) => datasets.find((set) => set.name === name)?.kind;

function datasetOf(config) {
  return (config.data?.pairs ?? config.data?.clean)?.[0]?.dir;
}

// Quality is measured on the data set that is learned from, unless the configuration has others for that.
function setDataset(config, name) {
  const measured = config.evaluate?.pairsDir ?? [];
  const own = measured.length === 0 || (measured.length === 1 && measured[0] === datasetOf(config));
  const {pairs, clean, ...rest} = config.data ?? {};
  if (kindOf(name) === 'KIND_PAIRS') {
    config.data = {pairs: [{dir: name}], ...rest};
    if (own) config.evaluate = {everySteps: 500, ...config.evaluate, pairsDir: [name]};
  } else {
    config.data = {clean: [{dir: name, weather: byId('job-weather').value}], ...rest};
    if (own) delete config.evaluate;
  }
}

function setWeather(config, weather) {
  for (const source of config.data?.clean ?? []) source.weather = weather;
}

// The configuration as it stands in the editor; throws a SyntaxError that says where it is none.
const config = () => JSON.parse(byId('job-config').value);

function write(value) {
  byId('job-config').value = JSON.stringify(value, null, 2);
}

function readFields() {
  let value;
  try {
    value = config();
  } catch {
    return;  // in the middle of typing
  }
  for (const [id, field] of Object.entries(FIELDS)) byId(id).value = field.get(value) ?? '';
  showWeather();
}

function writeField(id) {
  try {
    const value = config();
    FIELDS[id].set(value, byId(id).value.trim());
    write(value);
    showWeather();
  } catch (error) {
    tell(byId('job-form-status'), `The configuration is no JSON: ${error.message}`, 'error');
  }
}

function showWeather() {
  byId('job-weather-field').hidden = kindOf(byId('job-dataset').value) === 'KIND_PAIRS';
}

// Data sets that can be learned from; a configuration that names none yet gets the first.
export async function loadDatasets() {
  const {message} = await call('TrainingService/ListDatasets');
  datasets = (message.datasets ?? []).filter((set) => !set.problem);
  byId('job-dataset').replaceChildren(...datasets.map((set) => element('option', {value: set.name}, `${set.name} · ${
      number(set.pictures)} ${set.kind === 'KIND_PAIRS' ? 'pairs' : 'clean photos'}`)));
  byId('no-datasets').hidden = datasets.length > 0;
  byId('submit-job').disabled = datasets.length === 0;
  if (datasets.length === 0) return;
  if (namesDataset()) {
    readFields();
  } else {
    byId('job-dataset').value = datasets[0].name;
    writeField('job-dataset');
  }
}

function namesDataset() {
  try {
    return Boolean(datasetOf(config()));
  } catch {
    return true;  // in the middle of typing
  }
}

async function submit(validateOnly, submitted) {
  const place = byId('job-form-status');
  if (isBusy(byId('submit-job'))) return;  // a second click is no second job
  setBusy(byId('submit-job'), true);
  try {
    const request = {config: config(), validateOnly, labels: {from: 'console'}};
    const {message} = await call('TrainingService/SubmitJob', request);
    if (validateOnly) {
      tell(place, 'The server would take this job.', 'done');
    } else {
      tell(place, `Job ${message.id} is stored.`, 'done');
      submitted(message);
    }
  } catch (error) {
    if (error instanceof SyntaxError) tell(place, `The configuration is no JSON: ${error.message}`, 'error');
    else tellError(place, error);
  } finally {
    setBusy(byId('submit-job'), false);
  }
}

// `submitted(job)` is called with each job that the server took.
export function startJobForm(submitted) {
  write(DEFAULTS);
  readFields();
  for (const id of Object.keys(FIELDS)) byId(id).addEventListener('change', () => writeField(id));
  byId('job-config').addEventListener('input', readFields);
  byId('check-job').addEventListener('click', () => submit(true, submitted));
  byId('job-form').addEventListener('submit', (event) => {
    event.preventDefault();
    submit(false, submitted);
  });
}
