import { signal } from "@preact/signals";

import { models } from "./api";

const NONE: readonly string[] = [];

/** Class names by the name of their model: asked for once, and again when a camera names a model that is not known. */
export class Models {
  private readonly known = signal<ReadonlyMap<string, readonly string[]>>(new Map());
  private asking = false;
  private old = true;

  /** The class names of a model, by class id. */
  classes(model: string | null): readonly string[] {
    return (model === null ? undefined : this.known.value.get(model)) ?? NONE;
  }

  /** Another gateway may be there, and other processors: what is known is asked for again. */
  suspect(): void {
    this.old = true;
  }

  /** Cameras name these models. What is not answered is asked for again with the next list of cameras. */
  async need(names: readonly (string | null)[]): Promise<void> {
    const known = this.known.peek();
    const wanted = names.filter((name) => name !== null);
    if (this.asking || (wanted.every((name) => known.has(name)) && !(this.old && wanted.length > 0))) return;
    this.asking = true;
    try {
      this.known.value = new Map((await models()).map(({ name, classes }) => [name, classes]));
      this.old = false;
    } catch {
      // As above.
    } finally {
      this.asking = false;
    }
  }
}
