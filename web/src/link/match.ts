/** Orders frame ids (`<milliseconds>-<sequence>`). */
export function compareIds(a: string, b: string): number {
  const [aMs, aSeq] = split(a);
  const [bMs, bSeq] = split(b);
  return aMs - bMs || aSeq - bSeq;
}

function split(id: string): [number, number] {
  const dash = id.indexOf("-");
  return dash < 0 ? [Number(id), 0] : [Number(id.slice(0, dash)), Number(id.slice(dash + 1))];
}

/**
 * Brings a camera's pictures and results together by frame id. Either may come first; what is older than the last pair
 * never makes another one, so what is drawn only moves forward. Keeps at most `capacity` of each.
 */
export class FrameMatch<R, P> {
  private readonly results = new Map<string, R>();
  private readonly pictures = new Map<string, P>();
  private lastId: string | undefined;

  constructor(private readonly capacity: number) {}

  /** Takes a result; gives its picture if that is here. */
  result(id: string, result: R): P | undefined {
    if (this.isOld(id)) return undefined;
    const picture = this.pictures.get(id);
    if (picture === undefined) this.keep(this.results, id, result);
    else this.paired(id);
    return picture;
  }

  /** Takes a picture; gives its result if that is here. */
  picture(id: string, picture: P): R | undefined {
    if (this.isOld(id)) return undefined;
    const result = this.results.get(id);
    if (result === undefined) this.keep(this.pictures, id, picture);
    else this.paired(id);
    return result;
  }

  /** How many results and pictures wait for the other half. */
  get waiting(): number {
    return this.results.size + this.pictures.size;
  }

  /** Forgets everything, also how far it came. */
  clear(): void {
    this.results.clear();
    this.pictures.clear();
    this.lastId = undefined;
  }

  private isOld(id: string): boolean {
    return this.lastId !== undefined && compareIds(id, this.lastId) <= 0;
  }

  private keep<T>(map: Map<string, T>, id: string, value: T): void {
    map.set(id, value);
    if (map.size > this.capacity) {
      const oldest = map.keys().next();
      if (!oldest.done) map.delete(oldest.value);
    }
  }

  private paired(id: string): void {
    this.lastId = id;
    for (const map of [this.results, this.pictures]) {
      for (const other of map.keys()) {
        if (compareIds(other, id) <= 0) map.delete(other);
      }
    }
  }
}
