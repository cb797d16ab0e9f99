/**
 * The browser's own storage for weights: the origin-private file system, or the Cache API where it is missing. Shards
 * are kept under their SHA-256, models under their address, so that two models can share a shard and a second load
 * needs no network. Nothing here is needed for a load to succeed: whatever fails, or never answers, is as if it were not
 * cached.
 */

/** Bumped when the layout changes; older versions are removed. */
const VERSION = "setokim-v1";

/** Milliseconds that a store may take to open, and to read or write a shard of half a gigabyte. */
const PATIENCE = { open: 3_000, work: 60_000 };

export interface ShardRecord {
  name: string;
  bytes: number;
  sha256: string;
}

/** A model that can be loaded without network. */
export interface CachedModel {
  /** The address it was loaded from. */
  url: string;
  /** `name` in its config.json. */
  name: string;
  /** Bytes of its weights. */
  bytes: number;
  /** When it was stored, milliseconds since 1970. */
  saved: number;
}

/** What is stored for one model: enough to load it offline, and to find its shards. */
export interface ModelRecord extends CachedModel {
  config: string;
  manifest: string;
  shards: ShardRecord[];
}

/** A record as it is stored. Shards have their own hashes; this one is of the texts, which no hash covers else. */
interface ModelEntry extends ModelRecord {
  digest: string;
}

/** Bytes under names. */
export interface Store {
  read(key: string): Promise<Uint8Array<ArrayBuffer> | undefined>;
  write(key: string, bytes: Uint8Array): Promise<void>;
  remove(key: string): Promise<void>;
  keys(): Promise<string[]>;
}

/** The weight cache over a store; never throws. */
export class WeightCache {
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
  }

  /** The shard with this hash, if a whole one is there. Rust checks the hash again. */
  async shard(record: ShardRecord): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const bytes = await quietly(this.#store.read(shardKey(record.sha256)));
    return bytes?.byteLength === record.bytes ? bytes : undefined;
  }

  /** Whether there was room. */
  async keepShard(record: ShardRecord, bytes: Uint8Array): Promise<boolean> {
    const written = this.#store.write(shardKey(record.sha256), bytes).then(() => true);
    return (await quietly(written)) === true;
  }

  async dropShard(record: ShardRecord): Promise<void> {
    await quietly(this.#store.remove(shardKey(record.sha256)));
  }

  async model(url: string): Promise<ModelRecord | undefined> {
    const key = await quietly(modelKey(url));
    return key === undefined ? undefined : this.#record(key);
  }

  async keepModel(record: ModelRecord): Promise<void> {
    const key = await quietly(modelKey(record.url));
    const digest = await quietly(digestOf(record));
    if (key === undefined || digest === undefined) return;
    const entry: ModelEntry = { ...record, digest };
    await quietly(this.#store.write(key, new TextEncoder().encode(JSON.stringify(entry))));
  }

  async list(): Promise<CachedModel[]> {
    return (await this.#records()).map(({ url, name, bytes, saved }) => ({ url, name, bytes, saved }));
  }

  /** Forgets one model, or all; shards that another model needs stay. */
  async delete(url?: string): Promise<void> {
    const kept = new Set<string>();
    for (const record of await this.#records()) {
      if (url !== undefined && record.url !== url) {
        for (const shard of record.shards) kept.add(shardKey(shard.sha256));
        const key = await quietly(modelKey(record.url));
        if (key !== undefined) kept.add(key);
      }
    }
    for (const key of (await quietly(this.#store.keys())) ?? []) {
      if (!kept.has(key)) await quietly(this.#store.remove(key));
    }
  }

  async #records(): Promise<ModelRecord[]> {
    const keys = (await quietly(this.#store.keys())) ?? [];
    const records = await Promise.all(keys.filter((key) => key.startsWith("model-")).map((key) => this.#record(key)));
    return records.filter((record) => record !== undefined).sort((a, b) => b.saved - a.saved);
  }

  async #record(key: string): Promise<ModelRecord | undefined> {
    const bytes = await quietly(this.#store.read(key));
    if (bytes === undefined) return undefined;
    try {
      const { digest, ...record } = JSON.parse(new TextDecoder().decode(bytes)) as ModelEntry;
      return digest === (await digestOf(record)) ? record : undefined;
    } catch {
      return undefined; // half written: as good as absent
    }
  }
}

/** The cache of this origin, or undefined where the browser has no storage (an insecure page, a private window). */
export async function openCache(): Promise<WeightCache | undefined> {
  const store = (await quietly(openFileStore(), PATIENCE.open)) ?? (await quietly(openCacheStore(), PATIENCE.open));
  return store === undefined ? undefined : new WeightCache(store);
}

async function openFileStore(): Promise<Store | undefined> {
  if (typeof navigator === "undefined" || typeof navigator.storage?.getDirectory !== "function") return undefined;
  const root = await navigator.storage.getDirectory();
  for await (const name of root.keys()) {
    if (name.startsWith("setokim-v") && name !== VERSION) await root.removeEntry(name, { recursive: true });
  }
  const folder = await root.getDirectoryHandle(VERSION, { create: true });
  return {
    async read(key) {
      const handle = await folder.getFileHandle(key);
      return new Uint8Array(await (await handle.getFile()).arrayBuffer());
    },
    async write(key, bytes) {
      const handle: WritableFileHandle = await folder.getFileHandle(key, { create: true });
      try {
        await writeFile(handle, bytes);
      } catch (error) {
        await quietly(folder.removeEntry(key)); // out of space: leave nothing half written
        throw error;
      }
    },
    remove: (key) => folder.removeEntry(key),
    async keys() {
      const names: string[] = [];
      for await (const name of folder.keys()) names.push(name);
      return names;
    },
  };
}

/** Safari before 26 can write only through a synchronous handle, and only in a worker. */
interface WritableFileHandle {
  createWritable?: FileSystemFileHandle["createWritable"];
  createSyncAccessHandle?: () => Promise<SyncAccessHandle>;
}

interface SyncAccessHandle {
  truncate(size: number): void;
  write(bytes: Uint8Array, options: { at: number }): number;
  flush(): void;
  close(): void;
}

async function writeFile(handle: WritableFileHandle, bytes: Uint8Array): Promise<void> {
  if (handle.createWritable !== undefined) {
    const stream = await handle.createWritable();
    await stream.write(bytes as Uint8Array<ArrayBuffer>);
    await stream.close();
    return;
  }
  if (handle.createSyncAccessHandle === undefined) throw new Error("files cannot be written here");
  const access = await handle.createSyncAccessHandle();
  try {
    access.truncate(0);
    access.write(bytes, { at: 0 });
    access.flush();
  } finally {
    access.close();
  }
}

async function openCacheStore(): Promise<Store | undefined> {
  if (typeof caches === "undefined") return undefined;
  for (const name of await caches.keys()) {
    if (name.startsWith("setokim-v") && name !== VERSION) await caches.delete(name);
  }
  const cache = await caches.open(VERSION);
  const address = (key: string): string => new URL(`/.${VERSION}/${key}`, location.origin).href;
  return {
    async read(key) {
      const response = await cache.match(address(key));
      return response === undefined ? undefined : new Uint8Array(await response.arrayBuffer());
    },
    write: (key, bytes) => cache.put(address(key), new Response(bytes as Uint8Array<ArrayBuffer>)),
    remove: async (key) => void (await cache.delete(address(key))),
    keys: async () => (await cache.keys()).map((request) => request.url.split("/").pop() ?? ""),
  };
}

function shardKey(sha256: string): string {
  return `shard-${sha256}`;
}

async function modelKey(url: string): Promise<string> {
  return `model-${await sha256(url)}`;
}

function digestOf({ url, config, manifest }: ModelRecord): Promise<string> {
  return sha256(JSON.stringify([url, config, manifest]));
}

async function sha256(text: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function quietly<T>(promise: Promise<T>, patience = PATIENCE.work): Promise<T | undefined> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const silence = new Promise<undefined>((resolve) => (timer = setTimeout(() => resolve(undefined), patience)));
  try {
    return await Promise.race([promise, silence]);
  } catch {
    return undefined;
  } finally {
    clearTimeout(timer);
  }
}
