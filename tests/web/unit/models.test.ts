/** Which models the page offers, and which one it opens with. */

import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runInNewContext } from "node:vm";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { listedModels } from "../../../www/listed-models.ts";
import { chosenModel, kindOf, type ListedModel, modelsAsText, modelsFromText } from "../../../www/src/models.ts";

const drawn: ListedModel = { folder: "setokim-tiny", kind: "drawn" };
const photo: ListedModel = { folder: "photo", kind: "photographs" };

describe("a folder of models", () => {
  let folder = "";
  beforeEach(() => (folder = mkdtempSync(join(tmpdir(), "models-"))));
  afterEach(() => rmSync(folder, { recursive: true }));
  const add = (name: string, files: Record<string, unknown>): void => {
    mkdirSync(join(folder, name));
    for (const [file, value] of Object.entries(files)) writeFileSync(join(folder, name, file), JSON.stringify(value));
  };

  it("lists what is whole, by what its encoder has learned from", () => {
    expect(listedModels(folder)).toEqual([]);
    expect(listedModels(join(folder, "none"))).toEqual([]);
    add("setokim-tiny", { "manifest.json": {}, "config.json": { vision: { kind: "setokim-vit" } } });
    add("photo", { "manifest.json": {}, "config.json": { vision: { kind: "efficientnet-lite" } } });
    add("setokim-photo", { "config.json": { vision: { kind: "efficientnet-lite" } } }); // parts of one
    add(".photo-partial", { "manifest.json": {}, "config.json": { vision: { kind: "efficientnet-lite" } } });
    add("samples", {});
    expect(listedModels(folder)).toEqual(expect.arrayContaining([drawn, photo]));
    expect(listedModels(folder)).toHaveLength(2);
  });
});

describe("the list in the page", () => {
  it("begins with photographs, whatever the order was", () => {
    expect(modelsAsText([drawn, photo])).toBe("photo:photographs setokim-tiny:drawn");
    expect(modelsFromText(modelsAsText([drawn, photo]))).toEqual([photo, drawn]);
    expect(modelsFromText("")).toEqual([]);
    expect(modelsFromText("../up:drawn x:other y")).toEqual([]);
  });

  it("opens with the model that is asked for, else with the first", () => {
    expect(chosenModel([photo, drawn], null)).toEqual(photo);
    expect(chosenModel([drawn], null)).toEqual(drawn);
    expect(chosenModel([photo, drawn], "setokim-tiny")).toEqual(drawn);
    expect(chosenModel([photo, drawn], "my-own")).toEqual({ folder: "my-own" }); // its config will say what it is
    expect(chosenModel([photo, drawn], "../../secret")).toEqual(photo);
    expect(chosenModel([], null)).toEqual(drawn);
  });

  it("takes every encoder but our small one for one of photographs", () => {
    expect(kindOf({ vision: { kind: "siglip" } })).toBe("photographs");
    expect(kindOf({ vision: { kind: "setokim-vit" } })).toBe("drawn");
    expect(kindOf(null)).toBe("photographs");
  });

  it("is read in the same way before the first paint", () => {
    const script = readFileSync(new URL("../../../www/public/first-paint.js", import.meta.url), "utf8");
    const localStorage = { getItem: () => "dark" };
    for (const models of [[photo, drawn], [drawn], [photo], []]) {
      for (const asked of [null, "photo", "setokim-tiny", "my-own"]) {
        const dataset: Record<string, string> = { models: modelsAsText(models) };
        const location = { search: asked === null ? "" : `?model=${asked}` };
        runInNewContext(script, {
          document: { documentElement: { dataset } },
          location,
          localStorage,
          URLSearchParams,
        });
        expect(dataset).toMatchObject({ theme: "dark", world: chosenModel(models, asked).kind ?? "drawn" });
      }
    }
  });
});
