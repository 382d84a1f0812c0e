/** One managed process: it claims what an earlier start left, starts, watches, reloads, stops and restarts it, and says after each step how it is. Diagram: diagrams/component.md */
import { componentSetup, confirmInput, healthInput, probeInput } from './component-setup.ts';

export const componentMachine = componentSetup.createMachine({
  id: 'component',
  description: 'One managed process, from its claim to its end.',
  context: ({ input }) => ({
    ...input,
    goal: 'run',
    pid: null,
    outputFrom: 0,
    adopted: false,
    unconfirmedReload: false,
    failures: 0,
    restarts: 0,
    misses: 0,
    problem: '',
    refusal: null,
  }),
  initial: 'claiming',
  on: {
    'component.restart': { target: '.stopping', actions: ['takeWanted', 'aimToRun'] },
    'component.reload': { target: '.stopping', actions: ['takeWanted', 'aimToRun'] },
    'component.keep': { actions: 'takeWanted' },
    'component.stop': [
      { guard: 'it runs on unasked', target: '.released' },
      { guard: 'there is no time', target: '.stopping.killing', actions: 'aimToStop' },
      { target: '.stopping', actions: 'aimToStop' },
    ],
  },
  states: {
    claiming: {
      description:
        'An earlier start may have left a process. Ends when it is adopted, or when there is none of this component any more.',
      entry: { type: 'report', params: { state: 'starting', phase: 'claiming' } },
      invoke: {
        src: 'claim',
        id: 'claim',
        input: ({ context }) => ({ component: context.wanted }),
        onDone: [
          {
            guard: {
              type: 'it was adopted and readiness shows only at a start',
              params: ({ event }) => event.output,
            },
            target: 'up.healthy',
            actions: { type: 'takeAdopted', params: ({ event }) => event.output },
          },
          {
            guard: { type: 'it was adopted', params: ({ event }) => event.output },
            target: 'up',
            actions: { type: 'takeAdopted', params: ({ event }) => event.output },
          },
          { target: 'launching' },
        ],
        onError: {
          target: 'weighing',
          actions: [{ type: 'noteProblem', params: ({ event }) => ({ error: event.error }) }, 'refuseStart'],
        },
      },
    },
    launching: {
      description:
        'The configuration is written and the launcher started. Ends when the program has its pid on record.',
      entry: { type: 'report', params: { state: 'starting', phase: 'launching' } },
      invoke: {
        src: 'launch',
        id: 'launch',
        input: ({ context }) => ({ component: context.wanted }),
        onDone: { target: 'up', actions: { type: 'takeLaunched', params: ({ event }) => event.output } },
        onError: {
          target: 'clearing',
          actions: [{ type: 'noteProblem', params: ({ event }) => ({ error: event.error }) }, 'refuseStart'],
        },
      },
    },
    up: {
      description: 'The process lives and is watched. Ends with its end, or when it is to be stopped.',
      initial: 'starting',
      invoke: {
        src: 'watch',
        id: 'watch',
        input: ({ context }) => ({ id: context.wanted.id, pid: context.pid ?? 0 }),
        onDone: [
          {
            guard: 'it ended before it was told',
            target: 'clearing',
            actions: { type: 'noteEnd', params: ({ event }) => ({ how: event.output }) },
          },
          {
            guard: 'a reload is under way',
            target: 'clearing',
            actions: [{ type: 'noteEnd', params: ({ event }) => ({ how: event.output }) }, 'refuseReload'],
          },
          { target: 'clearing', actions: { type: 'noteEnd', params: ({ event }) => ({ how: event.output }) } },
        ],
        onError: {
          target: 'clearing',
          actions: { type: 'noteProblem', params: ({ event }) => ({ error: event.error }) },
        },
      },
      states: {
        starting: {
          description: 'It runs and is not ready yet. Ends when the ready probe succeeds or its time is over.',
          entry: { type: 'report', params: { state: 'starting', phase: 'starting' } },
          after: { readyTimeout: 'unready' },
          initial: 'probing',
          states: {
            probing: {
              description: 'One try of the ready probe is under way; ends with its answer.',
              invoke: {
                src: 'probe',
                id: 'ready',
                input: ({ context }) => probeInput(context, context.wanted.daemon.ready.probe),
                onDone: '#component.up.confirming',
                onError: {
                  target: 'resting',
                  actions: { type: 'noteProblem', params: ({ event }) => ({ error: event.error }) },
                },
              },
            },
            resting: { description: 'Between two tries; ends after a short wait.', after: { probeEvery: 'probing' } },
          },
        },
        unready: {
          description: 'It runs and did not become ready in its time. Ends when the ready probe succeeds after all.',
          entry: { type: 'report', params: { state: 'degraded', phase: 'unready' } },
          initial: 'resting',
          states: {
            probing: {
              description: 'One try of the ready probe is under way; ends with its answer.',
              invoke: {
                src: 'probe',
                id: 'readyLate',
                input: ({ context }) => probeInput(context, context.wanted.daemon.ready.probe),
                onDone: '#component.up.confirming',
                onError: {
                  target: 'resting',
                  actions: { type: 'noteProblem', params: ({ event }) => ({ error: event.error }) },
                },
              },
            },
            resting: { description: 'Between two tries; ends after a short wait.', after: { probeEvery: 'probing' } },
          },
        },
        confirming: {
          description:
            'It is ready; that it runs this configuration is being recorded. Ends either way: without the record only the next start cannot adopt it.',
          entry: 'clearRefusal',
          invoke: {
            src: 'confirm',
            id: 'confirm',
            input: ({ context }) => ({ id: context.wanted.id, hash: context.wanted.hash }),
            onDone: 'healthy',
            onError: {
              target: 'healthy',
              actions: { type: 'noteProblem', params: ({ event }) => ({ error: event.error }) },
            },
          },
        },
        healthy: {
          description: 'It runs as wanted. Ends when its health probes fail too often, or with a reload.',
          entry: ['forgetMisses', { type: 'report', params: { state: 'healthy', phase: 'healthy' } }],
          after: {
            steady: { actions: ['forgetFailures', { type: 'report', params: { state: 'healthy', phase: 'healthy' } }] },
          },
          on: { 'component.reload': { target: 'reloading', actions: ['takeWanted', 'clearRefusal'] } },
          initial: 'resting',
          states: {
            resting: {
              description: 'Between two health probes; without a health probe, for as long as it lives.',
              always: { guard: 'too many probes failed', target: '#component.up.degraded' },
              after: { healthEvery: { guard: 'health is probed', target: 'probing' } },
            },
            probing: {
              description: 'One health probe is under way; ends with its answer.',
              invoke: {
                src: 'probe',
                id: 'health',
                input: ({ context }) => healthInput(context),
                onDone: { target: 'resting', actions: 'forgetMisses' },
                onError: {
                  target: 'resting',
                  actions: { type: 'noteMiss', params: ({ event }) => ({ error: event.error }) },
                },
              },
            },
          },
        },
        degraded: {
          description: 'It runs and its health probes fail. Ends when one succeeds, or with a reload.',
          entry: { type: 'report', params: { state: 'degraded', phase: 'degraded' } },
          on: { 'component.reload': { target: 'reloading', actions: ['takeWanted', 'clearRefusal'] } },
          initial: 'resting',
          states: {
            resting: {
              description: 'Between two health probes; ends after its interval.',
              after: { healthEvery: 'probing' },
            },
            probing: {
              description: 'One health probe is under way; ends with its answer.',
              invoke: {
                src: 'probe',
                id: 'recovery',
                input: ({ context }) => healthInput(context),
                onDone: '#component.up.healthy',
                onError: {
                  target: 'resting',
                  actions: { type: 'noteProblem', params: ({ event }) => ({ error: event.error }) },
                },
              },
            },
          },
        },
        reloading: {
          description: 'It was told to read its new configuration. Ends when it confirms that, or does not in time.',
          entry: { type: 'report', params: { state: 'reloading', phase: 'reloading' } },
          after: { reloadTimeout: { target: 'unsure', actions: 'refuseSilentReload' } },
          initial: 'telling',
          states: {
            telling: {
              description:
                'The new configuration is made current and the program told; ends when that is done or refused.',
              invoke: {
                src: 'reload',
                id: 'reload',
                input: ({ context }) => ({ component: context.wanted, pid: context.pid ?? 0 }),
                onDone: [
                  {
                    guard: 'the reload can be confirmed',
                    target: 'probing',
                    actions: { type: 'takeReloaded', params: ({ event }) => event.output },
                  },
                  { target: 'stayingUp', actions: { type: 'takeReloaded', params: ({ event }) => event.output } },
                ],
                onError: {
                  target: '#component.up.unsure',
                  actions: [{ type: 'noteProblem', params: ({ event }) => ({ error: event.error }) }, 'refuseReload'],
                },
              },
            },
            probing: {
              description: 'Looking once for the confirmation; ends with the answer.',
              invoke: {
                src: 'probe',
                id: 'reloaded',
                input: ({ context }) => confirmInput(context),
                onDone: { target: 'reloaded', actions: 'markConfirmedReload' },
                onError: {
                  target: 'resting',
                  actions: { type: 'noteProblem', params: ({ event }) => ({ error: event.error }) },
                },
              },
            },
            resting: { description: 'Between two looks; ends after a short wait.', after: { probeEvery: 'probing' } },
            stayingUp: {
              description:
                'It has no way to confirm a reload, so staying up has to do. Ends after a while, or with its end.',
              after: { stayUp: { target: 'reloaded', actions: 'markUnconfirmedReload' } },
            },
            reloaded: {
              description:
                'It took the new configuration. Ends at once: its readiness is asked again where that is possible.',
              always: [
                { guard: 'readiness can be asked again', target: '#component.up.starting' },
                { target: '#component.up.confirming' },
              ],
            },
          },
        },
        unsure: {
          description:
            'It lives and did not take its new configuration, so what it runs is not known. Ends when the parent has it reloaded, restarted or stopped.',
          entry: { type: 'report', params: { state: 'degraded', phase: 'unsure' } },
          on: { 'component.reload': { target: 'reloading', actions: ['takeWanted', 'clearRefusal'] } },
        },
      },
    },
    clearing: {
      description: 'The process ended by itself; what is left of its group is killed. Ends when nothing is left.',
      entry: ['forgetProcess', { type: 'report', params: { state: 'backingOff', phase: 'clearing' } }],
      invoke: {
        src: 'kill',
        id: 'clear',
        input: ({ context }) => ({ id: context.wanted.id }),
        onDone: 'weighing',
        onError: {
          target: 'weighing',
          actions: { type: 'noteProblem', params: ({ event }) => ({ error: event.error }) },
        },
      },
    },
    weighing: {
      description: 'One more end is counted. Ends at once: in another try after a while, or for good.',
      entry: 'countFailure',
      always: [{ guard: 'the attempts are used up', target: 'failed' }, { target: 'backingOff' }],
    },
    backingOff: {
      description:
        'It is down and waits for its next start. Ends after a delay that grows with each end, or at once on a new step.',
      entry: { type: 'report', params: { state: 'backingOff', phase: 'backingOff' } },
      after: { backoff: { target: 'claiming', actions: 'countRestart' } },
      on: {
        'component.restart': { target: 'claiming', actions: ['takeWanted', 'aimToRun'] },
        'component.reload': { target: 'claiming', actions: ['takeWanted', 'aimToRun'] },
      },
    },
    failed: {
      description: 'It ended too often and is not started any more. Ends only with a new step from the parent.',
      entry: { type: 'report', params: { state: 'failed', phase: 'failed' } },
      on: {
        'component.restart': { target: 'claiming', actions: ['takeWanted', 'aimToRun'] },
        'component.reload': { target: 'claiming', actions: ['takeWanted', 'aimToRun'] },
      },
    },
    stopping: {
      description:
        'It is being stopped, with its group, for good or to be started anew. Ends when nothing of it is left.',
      on: {
        'component.restart': { actions: ['takeWanted', 'aimToRun'] },
        'component.reload': { actions: ['takeWanted', 'aimToRun'] },
        'component.stop': [
          { guard: 'there is no time', target: '.killing', actions: 'aimToStop' },
          { actions: 'aimToStop' },
        ],
      },
      initial: 'asking',
      states: {
        asking: {
          description: 'It has its stop signal. Ends when it is gone, or when its grace is over.',
          entry: { type: 'report', params: { state: 'stopping', phase: 'stopping' } },
          after: { grace: 'killing' },
          invoke: {
            src: 'terminate',
            id: 'terminate',
            input: ({ context }) => ({ id: context.wanted.id, signal: context.wanted.daemon.stop.signal }),
            onDone: 'gone',
            onError: {
              target: 'killing',
              actions: { type: 'noteProblem', params: ({ event }) => ({ error: event.error }) },
            },
          },
        },
        killing: {
          description: 'The whole group gets SIGKILL. Ends when it is gone, or when it survives even that.',
          entry: { type: 'report', params: { state: 'stopping', phase: 'killing' } },
          invoke: {
            src: 'kill',
            id: 'kill',
            input: ({ context }) => ({ id: context.wanted.id }),
            onDone: 'gone',
            onError: {
              target: 'cornered',
              actions: { type: 'noteProblem', params: ({ event }) => ({ error: event.error }) },
            },
          },
        },
        cornered: {
          description:
            'Something of it survived SIGKILL, as a process in uninterruptible sleep does. Ends with another try.',
          entry: { type: 'report', params: { state: 'stopping', phase: 'cornered' } },
          after: { killAgain: 'killing' },
        },
        gone: {
          description: 'Nothing of it is left. Ends at once: for good, or in a new start.',
          entry: 'forgetProcess',
          always: [{ guard: 'it is to run again', target: '#component.claiming' }, { target: '#component.stopped' }],
        },
      },
    },
    stopped: {
      description: 'It was stopped as asked. Final; the parent starts a new one when it is wanted again.',
      entry: { type: 'report', params: { state: 'stopped', phase: 'stopped' } },
      type: 'final',
    },
    released: {
      description: 'It is left to run on for the next start to adopt, and not watched any more. Final.',
      entry: { type: 'report', params: { state: 'stopped', phase: 'released' } },
      type: 'final',
    },
  },
});
