// Which of several are chosen, in the address: names with commas between. Nothing there is the default, so that none has a word of its own.

const NONE = 'none';

export function choiceOf(query: string | undefined, usual: string[]): string[] {
  if (!query) return usual;
  return query.split(',').filter((name) => name !== NONE);
}

/** For the address, once the one is chosen or no longer is. */
export function withToggled(chosen: string[], name: string): string {
  const rest = chosen.filter((other) => other !== name);
  return (rest.length < chosen.length ? rest : [...chosen, name]).join(',') || NONE;
}
