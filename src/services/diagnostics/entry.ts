/** One file of the archive, before it is masked: nothing reaches the archive but through {@link entryText}. */
import { hiddenLines, hiddenText, hiddenValue, withoutHalves } from './redaction.ts';

export type Entry = { readonly path: string } & (
  | { readonly kind: 'value'; readonly value: unknown }
  | { readonly kind: 'text'; readonly text: string }
  /** The end of a file: of JSON a line (`log`), or of whatever a program wrote (`output`). */
  | { readonly kind: 'log' | 'output'; readonly tail: Tail }
);

/** The last bytes of a file. */
export interface Tail {
  readonly text: string;
  /** There is more before it. */
  readonly isCut: boolean;
  /** Of the whole file. */
  readonly bytes: number;
}

/** A part of the archive. What it throws becomes `<name>.error.txt` and costs the other parts nothing. */
export interface Part {
  readonly name: string;
  readonly entries: () => AsyncIterable<Entry>;
}

/** Most characters of one entry. */
const ENTRY_MAX_CHARACTERS = 8 * 1024 * 1024;

export function value(path: string, content: unknown): Entry {
  return { path, kind: 'value', value: content };
}

/** What the archive holds of an entry: masked and bounded. `longest` is the length of the longest known secret. */
export function entryText(entry: Entry, longest: number): string {
  const masked = maskedText(entry, longest);
  if (masked.length <= ENTRY_MAX_CHARACTERS) return masked;
  return `${masked.slice(0, ENTRY_MAX_CHARACTERS)}\n(cut: it has ${masked.length} characters)\n`;
}

function maskedText(entry: Entry, longest: number): string {
  switch (entry.kind) {
    case 'value':
      return `${JSON.stringify(hiddenValue(entry.value), null, 2)}\n`;
    case 'text':
      return hiddenText(entry.text);
    case 'log':
    case 'output': {
      const { text, isCut, bytes } = entry.tail;
      // A private key is found over its lines, so before they are looked at one by one.
      const masked = entry.kind === 'log' ? hiddenLines(text) : hiddenText(text);
      if (!isCut) return masked;
      const note = `(the end of a file of ${bytes} bytes)`;
      return `${entry.kind === 'log' ? JSON.stringify({ message: note }) : note}\n${withoutHalves(masked, longest)}`;
    }
  }
}
