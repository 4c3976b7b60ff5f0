// An application on the TypeScript SDK that does what it is told, line by line. What it reads, writes and runs is what
// tests/python/witness.py says.
//
//     node witness.mjs URL OPTIONS

import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

// The packages lie beside what cargo builds, not beside this file.
const require = createRequire(`${process.env.WITNESS_PACKAGES}/`);
const { DBOS, DBOSClient } = require('@dbos-inc/dbos-sdk');

const WAIT = 120;
const PORTABLE = 'portable';
const [url, options] = [process.argv[2], JSON.parse(process.argv[3])];

class SoldOut extends Error {
  constructor(left) {
    super(`only ${left} left`);
    this.name = 'SoldOut';
    this.code = 409;
    this.data = { left };
  }
}

// ---- workflows: the same ones as in witness.py and in the Rust scenes -----------------------------------------------

async function echo(value) {
  return value;
}

async function sold_out(left) {
  throw new SoldOut(left);
}

async function converse(name) {
  await DBOS.setEvent('greeting', { hello: name });
  await DBOS.writeStream('progress', { n: 1 });
  await DBOS.writeStream('progress', { n: 2 });
  await DBOS.closeStream('progress');
  return { name, got: await DBOS.recv('answer', WAIT) };
}

async function sit() {
  return await DBOS.recv('rise', 600);
}

async function three_steps(base) {
  const a = await DBOS.runStep(async () => base + 1, { name: 'one' });
  const b = await DBOS.runStep(async () => a * 2, { name: 'two' });
  return await DBOS.runStep(async () => [a, b], { name: 'three' });
}

async function native() {
  await DBOS.runStep(async () => new Date(0), { name: 'date' });
  return { date: new Date(0) };
}

async function nightly(scheduledAt, context) {
  return { at: scheduledAt, context };
}

// Starts `converse` elsewhere, and talks with it from inside a workflow.
async function relay(options, args) {
  const child = await DBOS.enqueueWorkflowWithOptionsPortable(enqueueOptions(options), args);
  const greeting = await DBOS.getEvent(child.workflowID, 'greeting', WAIT);
  const progress = await all(DBOS.readStream(child.workflowID, 'progress', { timeoutSeconds: WAIT }));
  const message = { from: DBOS.workflowID };
  await DBOS.send(child.workflowID, message, 'answer', undefined, { serializationType: PORTABLE });
  return { child: child.workflowID, greeting, progress, result: await child.getResult() };
}

const workflows = {};
for (const body of [echo, sold_out, converse, sit, three_steps, nightly, relay]) {
  workflows[body.name] = DBOS.registerWorkflow(body, { name: body.name, serialization: PORTABLE });
}
workflows.native = DBOS.registerWorkflow(native, { name: 'native' });

// ---- what it can be told --------------------------------------------------------------------------------------------

const NAMES = {
  workflow_name: 'workflowName',
  queue_name: 'queueName',
  workflow_id: 'workflowID',
  class_name: 'workflowClassName',
  app_version: 'appVersion',
  application_name: 'applicationName',
  deduplication_id: 'deduplicationID',
  priority: 'priority',
  delay_seconds: 'delaySeconds',
  attributes: 'attributes',
  authenticated_user: 'authenticatedUser',
  authenticated_roles: 'authenticatedRoles',
};

function enqueueOptions(options) {
  return Object.fromEntries(Object.entries(options).map(([name, value]) => [NAMES[name], value]));
}

// A listing of this SDK shows a portable error as the text that is stored.
function listed(error) {
  try {
    return error ? JSON.parse(error.message) : null;
  } catch {
    return failure(error);
  }
}

const workflow = (status) => ({
  id: status.workflowID,
  status: status.status,
  name: status.workflowName,
  class: status.workflowClassName || null,
  application: status.applicationName ?? null,
  version: status.applicationVersion ?? null,
  executor: status.executorId ?? null,
  queue: status.queueName ?? null,
  parent: status.parentWorkflowID ?? null,
  forked_from: status.forkedFrom ?? null,
  user: status.authenticatedUser || null,
  roles: status.authenticatedRoles?.length ? status.authenticatedRoles : null,
  attributes: status.attributes ?? null,
  priority: status.priority,
  deduplication: status.deduplicationID ?? null,
  schedule: status.scheduleName ?? null,
  input: status.input ?? null,
  output: status.output ?? null,
  error: listed(status.error),
});

const step = (found) => ({
  number: found.functionID,
  name: found.name,
  output: found.output ?? null,
  error: found.error ? failure(found.error) : null,
  child: found.childWorkflowID ?? null,
});

const queue = (found) => ({
  name: found.name,
  concurrency: found.concurrency ?? null,
  worker_concurrency: found.workerConcurrency ?? null,
  limiter: found.rateLimit ?? null,
});

const schedule = (row) => ({
  name: row.scheduleName,
  workflow: row.workflowName,
  cron: row.schedule,
  status: row.status,
  context: row.context ?? null,
  timezone: row.cronTimezone,
  queue: row.queueName,
});

async function all(values) {
  const found = [];
  for await (const value of values) found.push(value);
  return found;
}

const ops = (client) => ({
  start: async ({ name, args, id }) =>
    (await DBOS.startWorkflow(workflows[name], { workflowID: id })(...args)).workflowID,
  enqueue: async ({ options, args = [], named }) =>
    (await client.enqueuePortable(enqueueOptions(options), args, named)).workflowID,
  result: async ({ id }) => (await client.retrieveWorkflow(id).getResult({ pollingIntervalMs: 50 })) ?? null,
  status: async ({ id }) => workflow(await client.getWorkflow(id)),
  send: ({ id, message, topic, key }) =>
    client.send(id, message, topic, key, { serializationType: PORTABLE }),
  event: ({ id, key, timeout = WAIT }) =>
    client.getEvent(id, key, { timeoutSeconds: timeout, pollingIntervalMs: 50 }),
  stream: ({ id, key }) => all(client.readStream(id, key, { pollingIntervalMs: 50, timeoutSeconds: WAIT })),
  cancel: ({ id }) => client.cancelWorkflow(id),
  resume: async ({ id, queue }) => (await client.resumeWorkflow(id, { queueName: queue })).workflowID,
  rewind: async ({ id, step, queue }) =>
    (await client.rewindWorkflow(id, { startStep: step, queueName: queue })).workflowID,
  fork: ({ id, new_id, step, queue, version }) =>
    client.forkWorkflow(id, step, { newWorkflowID: new_id, queueName: queue, applicationVersion: version }),
  delete: ({ id }) => client.deleteWorkflow(id),
  delay: ({ id, seconds }) => client.setWorkflowDelay(id, { delaySeconds: seconds }),
  list: async ({ application }) =>
    (
      await client.listWorkflows({
        applicationName: application ?? undefined,
        sortDesc: false,
        loadInput: true,
        loadOutput: true,
      })
    ).map(workflow),
  steps: async ({ id }) => (await client.listWorkflowSteps(id)).map(step),
  register_queue: async ({ name, concurrency }) => void (await client.registerQueue(name, { concurrency })),
  queues: async ({ application }) => (await client.listQueues(application)).map(queue),
  create_schedule: ({ name, workflow, cron, context, queue }) =>
    client.createSchedule({
      scheduleName: name,
      workflowName: workflow,
      schedule: cron,
      context,
      options: { queueName: queue },
    }),
  schedules: async ({ application }) =>
    (await client.listSchedules({ applicationName: application ?? undefined })).map(schedule),
  pause_schedule: ({ name }) => client.pauseSchedule(name),
  delete_schedule: ({ name }) => client.deleteSchedule(name),
  trigger_schedule: async ({ name }) => (await client.triggerSchedule(name)).workflowID,
  versions: async () => (await client.listApplicationVersions()).map((version) => version.versionName),
});

// ---- line by line ---------------------------------------------------------------------------------------------------

const failure = (error) => ({
  name: error.name,
  message: error.message,
  code: error.code ?? null,
  data: error.data ?? null,
});

const say = (reply) => process.stdout.write(`${JSON.stringify(reply)}\n`);

async function answer(witness, line) {
  const { n, op, ...request } = JSON.parse(line);
  try {
    say({ n, ok: (await witness[op](request)) ?? null });
  } catch (error) {
    say({ n, error: failure(error) });
  }
}

// What the SDK logs goes where logs go: standard output has the answers.
const log = Object.fromEntries(['debug', 'info', 'warn', 'error'].map((level) => [level, console.error]));
DBOS.setConfig({
  name: options.name,
  systemDatabaseUrl: url,
  applicationVersion: options.version,
  executorID: options.executor,
  listenQueues: options.queues,
  logger: log,
  runAdminServer: false,
  runMigrations: false,
  schedulerPollingIntervalMs: 1000,
});
await DBOS.launch();
for (const name of options.queues) {
  await DBOS.registerQueue(name, { pollingIntervalMs: 50, minPollingIntervalMs: 50, onConflict: 'always_update' });
}
const client = await DBOSClient.create({ systemDatabaseUrl: url, applicationName: options.name, logger: log });
const witness = ops(client);
say({ n: 0, ok: 'ready' });
for await (const line of createInterface({ input: process.stdin })) {
  void answer(witness, line);
}
await client.destroy();
await DBOS.shutdown();
