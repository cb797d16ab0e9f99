/** The models that the page can offer, by what lies in a folder: each with a manifest, and a config that says what it is. */

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { FOLDER, kindOf, type ListedModel } from "./src/models.ts";

export function listedModels(models: string): ListedModel[] {
  if (!existsSync(models)) return [];
  const folders = readdirSync(models).filter((name) => FOLDER.test(name) && !name.startsWith("."));
  return folders.flatMap((folder) => {
    const [manifest, config] = ["manifest.json", "config.json"].map((name) => join(models, folder, name));
    if (manifest === undefined || config === undefined || !existsSync(manifest) || !existsSync(config)) return [];
    return [{ folder, kind: kindOf(JSON.parse(readFileSync(config, "utf8"))) }];
  });
}
