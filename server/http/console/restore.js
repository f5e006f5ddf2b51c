// The first tab: a photo goes to the server, and comes back without its weather.

import {call} from './api.js';
import {fromBlob, toBytes} from './base64.js';
import {Compare} from './compare.js';
import {byId, element, isBusy, setBusy} from './dom.js';
import {bytes, number} from './format.js';
import {readGreyPng} from './grey_png.js';
import {tell, tellError} from './notices.js';
import {expertOverlay, uncertaintyOverlay} from './overlays.js';
import {routingTable, timingsBar} from './routing.js';
import {drawSample} from './sample.js';

const FORMATS = {
  FORMAT_JPEG: {type: 'image/jpeg', suffix: 'jpg'},
  FORMAT_PNG: {type: 'image/png', suffix: 'png'},
  FORMAT_WEBP: {type: 'image/webp', suffix: 'webp'},
  FORMAT_TIFF: {type: 'image/tiff', suffix: 'tiff'},
  FORMAT_BMP: {type: 'image/bmp', suffix: 'bmp'},
};

// In Base64 a photo grows by a third, and the server takes 64 MiB unless it is configured otherwise.
const LARGEST_PHOTO = 47 * 2 ** 20;

const state = {
  photo: null,    // the File that was chosen
  models: [],     // live ones, as ModelService lists them
  running: null,  // AbortController of the call under way
  overlays: {},   // by name: {pixels, legend, unitPx}
  download: '',   // URL of the restored file
};
let compare;

const chosenModel = () => state.models.find((model) => model.name === byId('model').value) ??
    state.models.find((model) => model.isDefault);

// Options

function showTasks() {
  const tasks = chosenModel()?.tasks ?? [];
  const chosen = byId('task').value;
  byId('task').replaceChildren(...tasks.map((task) => element('option', {value: task}, task)));
  if (tasks.includes(chosen)) byId('task').value = chosen;
  byId('task-field').hidden = tasks.length === 0;
}

// What the server has live; without a new list the old one stays, without any the default model restores all the same.
export async function loadModels() {
  try {
    const {message} = await call('ModelService/ListModels');
    state.models = (message.models ?? []).filter((model) => model.liveVersion);
  } catch {
    return;
  }
  const chosen = byId('model').value;
  byId('model').replaceChildren(element('option', {value: ''}, 'The server’s default'), ...state.models.map((model) => (
    element('option', {value: model.name}, `${model.name} · ${model.liveVersion}`))));
  if (state.models.some((model) => model.name === chosen)) byId('model').value = chosen;
  showTasks();
}

function options() {
  const routed = number(chosenModel()?.layers) > 0;
  return {
    model: byId('model').value,
    task: byId('task-field').hidden ? '' : byId('task').value,
    format: byId('format').value,
    strength: byId('strength').value / 100,
    expertMap: routed,
    uncertaintyMap: routed && byId('maps').checked,
  };
}

// Calls

// A model whose router works on whole tiles has no map of uncertainty: then the picture comes without.
async function restored(image, signal) {
  const wanted = options();
  try {
    return await call('RestorationService/Restore', {image, options: wanted}, {signal});
  } catch (error) {
    if (error.reason !== 'NOT_ROUTED') throw error;
    return call('RestorationService/Restore', {image, options: {...wanted, uncertaintyMap: false}}, {signal});
  }
}

function setRunning(controller) {
  const button = byId('restore-button');
  state.running = controller;
  button.disabled = state.photo === null;
  setBusy(button, controller !== null);
  if (controller === null && document.activeElement === byId('stop-button')) button.focus();
  byId('stop-button').hidden = controller === null;
  byId('working').hidden = controller === null;
}

async function readPhoto() {
  const {size} = state.photo;
  if (size <= LARGEST_PHOTO) return fromBlob(state.photo);
  throw new Error(`The photo has ${bytes(size)}, and this page sends at most ${bytes(LARGEST_PHOTO)}: the command line ` +
      'takes larger ones, deweather restore.');
}

async function restore() {
  state.running?.abort();
  const controller = new AbortController();
  setRunning(controller);
  tell(byId('restore-status'), `Restoring ${state.photo.name} …`);
  const {signal} = controller;
  try {
    const {message, requestId} = await restored(await readPhoto(), signal);
    if (!signal.aborted) await showResult(message, requestId);
  } catch (error) {
    if (state.running !== controller) return;  // another photo was chosen meanwhile
    if (error.status === 413) error.message = `The photo has ${bytes(state.photo.size)} and grows by a third on its way: ${error.message}`;
    if (error.name === 'AbortError') tell(byId('restore-status'), 'Stopped.');
    else tellError(byId('restore-status'), error);
  } finally {
    if (state.running === controller) setRunning(null);
  }
}

// Results

async function readOverlays(reply) {
  const unitPx = number(reply.routing?.unitPx);
  const overlays = {};
  if (reply.expertMap) overlays.experts = {...expertOverlay(await readGreyPng(toBytes(reply.expertMap))), unitPx};
  if (reply.uncertaintyMap) {
    overlays.uncertainty = {...uncertaintyOverlay(await readGreyPng(toBytes(reply.uncertaintyMap))), unitPx};
  }
  return overlays;
}

function showOverlay() {
  const name = document.querySelector('input[name=overlay]:checked').value;
  const overlay = state.overlays[name];
  byId('overlay-legend').replaceChildren(...(overlay ? [overlay.legend] : []));
  byId('opacity-field').hidden = !overlay;
  if (overlay) compare.showOverlay(overlay.pixels, overlay.unitPx);
  else compare.clearOverlay();
}

function showOverlayChoices(overlays) {
  state.overlays = overlays;
  for (const input of document.querySelectorAll('input[name=overlay]')) {
    input.disabled = input.value !== 'none' && !overlays[input.value];
    if (input.disabled && input.checked) byId('overlay-none').checked = true;
  }
  byId('overlay-field').hidden = Object.keys(overlays).length === 0;
  showOverlay();
}

function showFacts(reply, requestId, file) {
  const rows = {
    Model: reply.model?.name,
    Version: reply.model?.version,
    Size: `${reply.widthPx} × ${reply.heightPx}, ${bytes(file.size)}`,
    Request: requestId,
  };
  byId('result-facts').replaceChildren(...Object.entries(rows).filter(([, value]) => value).map(([name, value]) => (
    element('div', {}, element('dt', {}, name), element('dd', {}, value)))));
}

function showDownload(file, suffix) {
  if (state.download) URL.revokeObjectURL(state.download);
  state.download = URL.createObjectURL(file);
  byId('download').href = state.download;
  byId('download').download = `${state.photo.name.replace(/\.[^.]*$/, '')}-restored.${suffix}`;
}

async function showResult(reply, requestId) {
  const {type, suffix} = FORMATS[reply.format];
  const file = new Blob([toBytes(reply.image)], {type});
  const shown = await compare.showAfter(file, {width: reply.widthPx, height: reply.heightPx});
  showOverlayChoices(await readOverlays(reply));
  showFacts(reply, requestId, file);
  showDownload(file, suffix);
  byId('timings').replaceChildren(timingsBar(reply.timings ?? {}));
  byId('routing').replaceChildren(...(reply.routing ? [routingTable(reply.routing)] : []));
  byId('routing-section').hidden = !reply.routing;
  byId('results').hidden = false;
  tell(byId('restore-status'), shown ? 'Restored. Move the divider over the picture, or use the arrow keys.' :
      `Restored. This browser shows no ${suffix.toUpperCase()} files: download it, or choose another format.`, 'done');
}

// Choosing a photo

async function take(file) {
  state.running?.abort();
  state.photo = file;
  byId('drop').classList.add('taken');
  byId('photo-name').textContent = `${file.name}, ${bytes(file.size)}`;
  byId('results').hidden = true;
  byId('routing-section').hidden = true;
  showOverlayChoices({});
  byId('compare').hidden = false;
  byId('before-unseen').hidden = await compare.showBefore(file);
  await restore();
}

function startDropping() {
  const drop = byId('stage-column');
  drop.addEventListener('dragover', (event) => {
    event.preventDefault();
    drop.classList.add('over');
  });
  drop.addEventListener('dragleave', () => drop.classList.remove('over'));
  drop.addEventListener('drop', (event) => {
    event.preventDefault();
    drop.classList.remove('over');
    if (event.dataTransfer.files.length > 0) take(event.dataTransfer.files[0]);
  });
  // Beside its place a file would be opened instead of the page.
  for (const name of ['dragover', 'drop']) document.addEventListener(name, refuseFiles);
}

function refuseFiles(event) {
  if (event.defaultPrevented || !event.dataTransfer.types.includes('Files')) return;
  event.preventDefault();
  event.dataTransfer.dropEffect = 'none';
}

export function startRestore() {
  compare = new Compare(byId('compare'));
  startDropping();
  byId('photo').addEventListener('change', (event) => {
    if (event.target.files.length > 0) take(event.target.files[0]);
    event.target.value = '';  // the same file may be chosen again
  });
  byId('choose').addEventListener('click', () => byId('photo').click());
  byId('sample').addEventListener('click', async () => take(await drawSample()));
  byId('model').addEventListener('change', showTasks);
  byId('strength').addEventListener('input', () => { byId('strength-value').textContent = `${byId('strength').value} %`; });
  byId('restore-form').addEventListener('submit', (event) => {
    event.preventDefault();
    if (state.photo && !isBusy(byId('restore-button'))) restore();
  });
  byId('stop-button').addEventListener('click', () => state.running?.abort());
  for (const input of document.querySelectorAll('input[name=overlay]')) input.addEventListener('change', showOverlay);
  byId('opacity').addEventListener('input', () => { compare.opacity = byId('opacity').value / 100; });
  compare.opacity = byId('opacity').value / 100;
  setRunning(null);
}
