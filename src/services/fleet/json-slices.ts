/** Takes JSON text apart without parsing what is inside: for an answer of which one part cannot be parsed. Never recurses. */

/** The raw texts of an object's values by key; null when `text` is not the beginning of one. Of a repeated key the last one counts. */
export function sliceObject(text: string): ReadonlyMap<string, string> | null {
  const parts = slice(text, '{', '}');
  if (parts === null) return null;
  const values = new Map<string, string>();
  for (const part of parts) {
    const key = /^\s*("(?:[^"\\]|\\.)*")\s*:/.exec(part);
    if (!key?.[1]) return null;
    try {
      values.set(JSON.parse(key[1]) as string, part.slice(key[0].length).trim());
    } catch {
      return null;
    }
  }
  return values;
}

/** The raw texts of an array's elements; null when `text` is not an array. */
export function sliceArray(text: string): readonly string[] | null {
  return slice(text, '[', ']');
}

/** What stands between the commas of the outermost brackets. */
function slice(text: string, opening: string, closing: string): string[] | null {
  const trimmed = text.trim();
  if (!trimmed.startsWith(opening) || !trimmed.endsWith(closing)) return null;
  const parts: string[] = [];
  let depth = 0;
  let inString = false;
  let from = 1;
  for (let i = 0; i < trimmed.length; i++) {
    const char = trimmed[i];
    if (inString) {
      if (char === '\\') i++;
      else if (char === '"') inString = false;
    } else if (char === '"') inString = true;
    else if (char === '{' || char === '[') depth++;
    else if (char === '}' || char === ']') {
      depth--;
      if (depth === 0 && i < trimmed.length - 1) return null;
    } else if (char === ',' && depth === 1) {
      parts.push(trimmed.slice(from, i));
      from = i + 1;
    }
  }
  if (depth !== 0 || inString) return null;
  const last = trimmed.slice(from, -1);
  if (parts.length > 0 || last.trim() !== '') parts.push(last);
  return parts.map((part) => part.trim());
}
