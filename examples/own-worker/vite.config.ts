import { defineConfig } from "vite";

// Vite's workers are one classic script unless it is told otherwise; a module can load its parts when it needs them.
export default defineConfig({ worker: { format: "es" } });
