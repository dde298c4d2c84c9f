// What a visitor chose for this browser: theme and language of the interface. Kept in localStorage; nothing secret is.

export type Theme = 'system' | 'light' | 'dark';

export const preferences = $state({ theme: (stored('theme') ?? 'system') as Theme });

export function setTheme(theme: Theme): void {
  preferences.theme = theme;
  store('theme', theme);
  showTheme();
}

export function stored(name: string): string | null {
  try {
    return localStorage.getItem(`xenoglot.${name}`);
  } catch {
    return null; // a browser that keeps nothing
  }
}

export function store(name: string, value: string): void {
  try {
    localStorage.setItem(`xenoglot.${name}`, value);
  } catch {
    // The choice holds until the page is closed.
  }
}

function showTheme(): void {
  document.documentElement.dataset.theme = preferences.theme;
}

showTheme();
