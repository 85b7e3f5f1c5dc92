import { signal } from "@preact/signals";

const KEY = "peregrine.token";

/** What the gateway knows this page by; kept until the tab is closed, and never in an address. */
export const token = signal<string | undefined>(stored());

/** Whether the gateway asks for a token, and why; undefined where it does not. */
export const tokenWanted = signal<string | undefined>(undefined);

export type Role = "viewer" | "operator" | "admin";

/** What this page may do; undefined until the gateway has said so. */
export const role = signal<Role | undefined>(undefined);

/** Where Grafana is; undefined where the gateway names none. */
export const grafana = signal<string | undefined>(undefined);

function stored(): string | undefined {
  try {
    return sessionStorage.getItem(KEY) ?? undefined;
  } catch {
    // Storage can be forbidden: then the token lives as long as the page.
    return undefined;
  }
}

export function setToken(value: string | undefined): void {
  token.value = value;
  try {
    if (value === undefined) sessionStorage.removeItem(KEY);
    else sessionStorage.setItem(KEY, value);
  } catch {
    // As above.
  }
}

/** The header by which requests are known. */
export function authorization(): Record<string, string> {
  return token.value === undefined ? {} : { Authorization: `Bearer ${token.value}` };
}

/** A token that cannot be sent would be told apart by an obscure error only. */
export function isToken(text: string): boolean {
  return /^[A-Za-z0-9._~-]+$/.test(text);
}

/**
 * Asks the gateway who this page is. True when it is let in; false when a token is wanted, which `tokenWanted` then
 * says. A gateway that does not answer is no reason to ask anybody for anything.
 */
export async function checkIn(get: typeof fetch = fetch): Promise<boolean> {
  let answer: Response;
  try {
    answer = await get("api/session", {
      headers: authorization(),
      cache: "no-store",
      signal: AbortSignal.timeout(5_000),
    });
  } catch {
    return true;
  }
  if (answer.status === 401 || answer.status === 429) {
    const refused = token.value !== undefined;
    tokenWanted.value =
      answer.status === 429
        ? "Too many wrong tokens came from here. Wait a few seconds, then try again."
        : refused
          ? "This token is not accepted. Check it, or ask for another."
          : "Whoever runs this gateway has a token for you.";
    return false;
  }
  tokenWanted.value = undefined;
  if (answer.ok) {
    const caller = (await answer.json().catch(() => undefined)) as { role?: Role; grafana?: string | null } | undefined;
    role.value = caller?.role;
    grafana.value = caller?.grafana ?? undefined;
  }
  return true;
}
