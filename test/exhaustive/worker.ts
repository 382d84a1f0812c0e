/** Explores the scenarios it is given, one after the other, and sends back what they came to. */
import { parentPort, workerData } from 'node:worker_threads';
import { explore, type Options } from './explore.ts';
import { scenarioNamed } from './scenarios.ts';

const options = workerData as Options;
// An actor that takes an event after its end says so on the console, in every world.
console.warn = () => {};

parentPort?.on('message', async (name: string) => {
  parentPort?.postMessage(await explore(scenarioNamed(name), options));
});
