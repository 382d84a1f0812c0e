// A start of Holdfast reduced to its hands: starts one component by the process service, confirms it (and begins a reload), says its pid and waits for its own death.
// usage: node start-component.mjs SERVICE_DIRECTORY HOME BOOT_ID WANTED_JSON [RELOADED_JSON]
const [services, home, bootId, wanted, reloaded] = process.argv.slice(2);
const { ManagedProcess } = await import(`${services}/managed-process.js`);
const { pidNamespaceOf } = await import(`${services}/proc.js`);
const { realClock } = await import(`${services}/clock.js`);

const log = { debug() {}, warning: (message) => console.error(message) };
const component = JSON.parse(wanted);
const world = { home, bootId, pidNamespace: await pidNamespaceOf('self') };
const managed = new ManagedProcess({ id: component.id, world, clock: realClock, log });
const { signal } = new AbortController();
const { pid } = await managed.launch(component, signal);
await managed.confirm(component.hash);
if (reloaded) await managed.reload(JSON.parse(reloaded), signal);
console.log(pid);
setInterval(() => {}, 1000);
