/** Certificates and keys as settings give them: PEM text itself, or the path of a file of it. */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { asHoldfastError } from '../../errors.ts';
import type { SslSettings } from '../settings/settings.ts';

/** A certificate or key that cannot be used; the message names setting and file, and says what to do. */
export class UnusablePem extends Error {}

/** What {@link readPem} reads for. */
export type PemSetting = 'fleet.ssl.certificate_authorities' | 'fleet.ssl.certificate' | 'fleet.ssl.key';

const isText = (source: string): boolean => source.includes('-----BEGIN');

/** A path that means the same from wherever the next process is started. */
export function absolutePem(source: string): string {
  return isText(source) ? source : resolve(source);
}

/** Before anything is asked of Fleet: what cannot be used is an error of the settings. @throws HoldfastError SETTINGS_INVALID */
export async function checkPem(
  ssl: Pick<SslSettings, 'certificateAuthorities' | 'certificate' | 'key'>,
): Promise<void> {
  try {
    for (const source of ssl.certificateAuthorities) await readPem(source, 'fleet.ssl.certificate_authorities');
    if (ssl.certificate !== null) await readPem(ssl.certificate, 'fleet.ssl.certificate');
    if (ssl.key !== null) await readPem(ssl.key, 'fleet.ssl.key');
  } catch (thrown) {
    throw asHoldfastError(thrown, 'SETTINGS_INVALID');
  }
}

/** @throws UnusablePem */
export async function readPem(source: string, setting: PemSetting): Promise<string> {
  const place = isText(source) ? `the text of ${setting}` : source;
  let pem = source;
  try {
    if (!isText(source)) pem = await readFile(source, 'utf8');
  } catch (thrown) {
    const why = thrown instanceof Error ? thrown.message : String(thrown);
    throw new UnusablePem(`a certificate or key file of fleet.ssl cannot be read: ${why}; correct ${setting}`, {
      cause: thrown,
    });
  }
  try {
    if (setting !== 'fleet.ssl.key') new X509Certificate(pem);
    else if (!pem.includes('PRIVATE KEY-----')) throw new TypeError('it holds no private key');
    else createPrivateKey(pem);
  } catch (cause) {
    const wanted = setting === 'fleet.ssl.key' ? 'an unencrypted private key' : 'a certificate';
    throw new UnusablePem(`${place} is not ${wanted} in PEM form: name a file that is with ${setting}`, { cause });
  }
  return pem;
}
