// Where the page begins: the tabs, the token, and what each tab does when it is shown.

import {access, token} from './api.js';
import {byId} from './dom.js';
import {showJobs, startJobs, stopJobs} from './jobs.js';
import {showMetrics, stopMetrics} from './metrics.js';
import {tell} from './notices.js';
import {loadModels, startRestore} from './restore.js';
import {startTabs} from './tabs.js';

let shown = '';

function show(name) {
  shown = name;
  stopJobs();
  stopMetrics();
  if (name === 'restore') loadModels();
  if (name === 'jobs') showJobs();
  if (name === 'metrics') showMetrics();
}

function showToken() {
  byId('token-button').textContent = token.get() ? 'Access token ✓' : 'Access token';
  byId('token-button').classList.toggle('set', token.get() !== '');
}

function openToken(why) {
  if (byId('token-dialog').open) return;
  tell(byId('token-status'), why, why ? 'error' : '');
  byId('token').value = '';
  byId('token-forget').disabled = !token.get();
  byId('token-dialog').showModal();
}

function closeToken() {
  byId('token-dialog').close();
  showToken();
  show(shown);
}

function startToken() {
  byId('token-button').addEventListener('click', () => openToken(''));
  byId('token-cancel').addEventListener('click', () => byId('token-dialog').close());
  byId('token-forget').addEventListener('click', () => {
    token.clear();
    closeToken();
  });
  byId('token-form').addEventListener('submit', (event) => {
    event.preventDefault();
    const value = byId('token').value.trim();
    if (!token.allows(value)) {
      tell(byId('token-status'), 'That is no token: one has no spaces, and no letters with accents or other signs beyond ASCII.', 'error');
      return;
    }
    token.set(value);
    closeToken();
  });
  access.addEventListener('refused', ({detail}) => openToken(detail.message));
  showToken();
}

startToken();
startRestore();
startJobs(loadModels);
startTabs(byId('tabs'), show);
