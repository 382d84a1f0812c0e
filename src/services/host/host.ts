/** What this host is: the identities that tell one boot and one machine from another, and the facts Fleet shows. */
import { readFileSync } from 'node:fs';
import { arch, hostname, machine, networkInterfaces, platform, release, uptime } from 'node:os';

/** Facts in the form of ECS `host.*` and `os.*`, as an agent sends them in `local_metadata`. */
export interface HostFacts {
  readonly host: {
    readonly architecture: string;
    readonly hostname: string;
    readonly name: string;
    /** The machine id; `''` when the host has none. */
    readonly id: string;
    /** CIDR form, loopback included, as Elastic Agent sends them. */
    readonly ip: readonly string[];
    readonly mac: readonly string[];
  };
  readonly os: {
    readonly family: string;
    readonly kernel: string;
    readonly platform: string;
    readonly version: string;
    readonly name: string;
    readonly full: string;
  };
}

/** Reads a small system file; null when it is not there. Replaced by tests. */
export type ReadText = (path: string) => string | null;

const readSystemFile: ReadText = (path) => {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null;
  }
};

/** Changes with every boot of the host and with nothing else. */
export function bootId(read: ReadText = readSystemFile): string {
  const id = read('/proc/sys/kernel/random/boot_id')?.trim();
  if (id) return id;
  // Without Linux's own: the time of boot, coarse, since both clocks it is made from jitter.
  return `booted-${Math.round((Date.now() / 1000 - uptime()) / 60)}`;
}

/** Identifies the installation of the operating system; null when it has none. Copied images share it only if nobody reset it. */
export function machineId(read: ReadText = readSystemFile): string | null {
  return read('/etc/machine-id')?.trim() || read('/var/lib/dbus/machine-id')?.trim() || null;
}

const GO_ARCH: Readonly<Record<string, string>> = { x64: 'amd64', ia32: '386', arm64: 'arm64', arm: 'arm' };

/** The host as spec files name it in `platforms`: `linux/amd64`. */
export function specPlatform(): string {
  return `${platform() === 'win32' ? 'windows' : platform()}/${GO_ARCH[arch()] ?? arch()}`;
}

export function hostFacts(read: ReadText = readSystemFile): HostFacts {
  const name = hostname();
  const release_ = osRelease(read('/etc/os-release') ?? read('/usr/lib/os-release') ?? '');
  const interfaces = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  const macs = interfaces.map(({ mac }) => mac).filter((mac) => mac !== '00:00:00:00:00:00');
  return {
    host: {
      architecture: machine(),
      hostname: name,
      name,
      id: machineId(read) ?? '',
      ip: unique(interfaces.map(({ cidr, address }) => cidr ?? address)),
      mac: unique(macs.map((mac) => mac.toUpperCase().replaceAll(':', '-'))),
    },
    os: { ...release_, kernel: release() },
  };
}

/** The host as a policy's variables know it (`${host.name}`): names as Go has them, addresses without their prefix length. */
export function variableHost(read: ReadText = readSystemFile) {
  const { host } = hostFacts(read);
  return {
    id: host.id,
    name: host.name,
    platform: specPlatform().split('/')[0] ?? '',
    architecture: specPlatform().split('/')[1] ?? '',
    ip: host.ip.map((address) => address.replace(/\/\d+$/, '')),
    mac: host.mac,
  };
}

/** Reads `os-release(5)`. */
export function osRelease(text: string): Omit<HostFacts['os'], 'kernel'> {
  const values: Record<string, string> = {};
  for (const line of text.split('\n')) {
    const match = /^([A-Z_0-9]+)=(?:"(.*)"|'(.*)'|(.*))$/.exec(line.trim());
    if (match?.[1]) values[match[1]] = (match[2] ?? match[3] ?? match[4] ?? '').replace(/\\(.)/g, '$1');
  }
  const id = values.ID || platform();
  const name = values.NAME || id;
  const version = values.VERSION_ID || '';
  const like = (values.ID_LIKE ?? '').split(' ')[0];
  // ECS families; of derived distributions the one they derive from.
  const family = FAMILY[id] ?? (like ? (FAMILY[like] ?? like) : id);
  return { family, platform: id, version, name, full: version ? `${name}(${version})` : name };
}

const FAMILY: Readonly<Record<string, string>> = {
  debian: 'debian',
  ubuntu: 'debian',
  rhel: 'redhat',
  fedora: 'redhat',
  centos: 'redhat',
  rocky: 'redhat',
  almalinux: 'redhat',
  amzn: 'redhat',
  suse: 'suse',
  opensuse: 'suse',
  sles: 'suse',
  arch: 'arch',
};

function unique(items: readonly string[]): string[] {
  return [...new Set(items)].sort();
}
