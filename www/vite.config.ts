import { createHash } from "node:crypto";
import { cpSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import sirv from "sirv";
import { type Connect, defineConfig, type Plugin } from "vite";
import { listedModels } from "./listed-models.ts";
import { type ListedModel, modelsAsText } from "./src/models.ts";
import { worlds } from "./src/worlds/index.ts";

const root = fileURLToPath(new URL(".", import.meta.url));
const models = join(root, "../models");
const fixtures = join(root, "../tests/fixtures");

/** What is tested does not hang on which models somebody has made beside those of the repository. */
const offered = (mode: string): ListedModel[] =>
  listedModels(models).filter(({ folder }) => mode !== "test" || folder === "setokim-tiny");

/** Only this origin, and no inline script or style. WebAssembly needs its own word. */
const policy = [
  "default-src 'none'",
  "script-src 'self' 'wasm-unsafe-eval'",
  "style-src 'self'",
  "img-src 'self' blob: data:",
  "connect-src 'self'",
  "worker-src 'self'",
  "manifest-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
].join("; ");

/** The built page carries its own policy, so that it is as strict on any static server. */
function contentPolicy(): Plugin {
  return {
    name: "content-policy",
    apply: "build",
    transformIndexHtml: () => [
      {
        tag: "meta",
        attrs: { "http-equiv": "Content-Security-Policy", content: policy },
        injectTo: "head-prepend",
      },
    ],
  };
}

/** `sw.js`, which knows every file of the build by name. */
function offlinePage(): Plugin {
  let mode = "";
  return {
    name: "offline-page",
    apply: "build",
    configResolved: (config) => void (mode = config.mode),
    generateBundle(_options, bundle) {
      const hash = createHash("sha256");
      for (const file of Object.values(bundle)) hash.update(file.type === "chunk" ? file.code : file.source);
      const version = hash.digest("hex").slice(0, 12);
      const files = ["./", "first-paint.js", "icon.svg", "app.webmanifest", ...Object.keys(bundle)].filter(
        (name) => !name.endsWith(".map") && name !== "index.html",
      );
      const kinds = new Set(offered(mode).map(({ kind }) => kind));
      const samples = [...kinds].flatMap((kind) => worlds[kind].samples);
      files.push(...samples.map(({ file }) => `models/samples/${file}`));
      const source = readFileSync(join(root, "sw.template.js"), "utf8")
        .replace("__VERSION__", version)
        .replace("__FILES__", JSON.stringify(files));
      this.emitFile({ type: "asset", fileName: "sw.js", source });
    },
  };
}

/**
 * `../models` beside the page: copied into the build, which says in the page which are there. The development and preview
 * servers have all of them, and the tests' fixture models as `models/tiny/` and `models/tiny-setokim/`.
 */
function modelFiles(): Plugin {
  let outDir = join(root, "dist");
  let mode = "";
  const serve = (folder: string): Connect.NextHandleFunction => sirv(folder, { dev: true, etag: true });
  const serveFixtures = (middlewares: Connect.Server): void => {
    middlewares.use("/models/tiny-setokim", serve(join(fixtures, "tiny-setokim")));
    middlewares.use("/models/tiny", serve(join(fixtures, "tiny-model")));
  };
  return {
    name: "model-files",
    configResolved: (config) => {
      outDir = join(config.root, config.build.outDir);
      mode = config.mode;
    },
    transformIndexHtml: (html) =>
      html.replace('<html lang="en"', `<html lang="en" data-models="${modelsAsText(offered(mode))}"`),
    generateBundle() {
      // The page shows this art and these photographs, so it carries their licences.
      const notices = ["NOTICE", "training/NOTICE"]
        .map((name) => readFileSync(join(root, "..", name), "utf8"))
        .join("\n");
      this.emitFile({ type: "asset", fileName: "NOTICE.txt", source: notices });
    },
    closeBundle() {
      const folders = ["samples", ...offered(mode).map(({ folder }) => folder)];
      for (const name of folders) cpSync(join(models, name), join(outDir, "models", name), { recursive: true });
    },
    configureServer(server) {
      serveFixtures(server.middlewares);
      server.middlewares.use("/models", serve(models));
    },
    configurePreviewServer(server) {
      serveFixtures(server.middlewares);
      server.middlewares.use("/models", serve(models));
    },
  };
}

export default defineConfig({
  root,
  base: "./",
  // Missing files are answered with 404 and not with the page: a model's address that is wrong must fail.
  appType: "mpa",
  plugins: [contentPolicy(), modelFiles(), offlinePage()],
  build: {
    target: "es2022",
    assetsInlineLimit: 0,
    reportCompressedSize: true,
    chunkSizeWarningLimit: 300,
    rolldownOptions: { input: [join(root, "index.html"), join(root, "selftest.html")] },
  },
  server: { host: "127.0.0.1", fs: { allow: [join(root, "..")] } },
  preview: {
    host: "127.0.0.1",
    headers: {
      "Content-Security-Policy": policy,
      "X-Content-Type-Options": "nosniff",
      "Referrer-Policy": "no-referrer",
    },
  },
});
