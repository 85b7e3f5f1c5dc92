import { readdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { promisify } from "node:util";
import { brotliCompress, gzip } from "node:zlib";

import { defineConfig, type Plugin } from "vite";

// The page says itself what it may load, so that the rule holds whoever serves it. Only in a build: Vite's
// development server puts styles into the page.
const policy = [
  "default-src 'none'",
  "script-src 'self'",
  "worker-src 'self'",
  "style-src 'self'",
  "img-src 'self' blob:",
  "connect-src 'self'",
  "manifest-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
].join("; ");

const contentSecurityPolicy: Plugin = {
  name: "content-security-policy",
  apply: "build",
  transformIndexHtml: () => [
    { tag: "meta", attrs: { "http-equiv": "Content-Security-Policy", content: policy }, injectTo: "head-prepend" },
  ],
};

// Beside each text lie its compressed forms, which the gateway sends to browsers that take them.
const compressed: Plugin = {
  name: "compressed",
  apply: "build",
  enforce: "post",
  async writeBundle({ dir = "dist" }) {
    const files = await readdir(dir, { recursive: true });
    const texts = files.filter((file) => /\.(css|html|js|json|svg|webmanifest)$/.test(file));
    await Promise.all(
      texts.map(async (file) => {
        const name = path.join(dir, file);
        const text = await readFile(name);
        await writeFile(`${name}.br`, await promisify(brotliCompress)(text));
        await writeFile(`${name}.gz`, await promisify(gzip)(text, { level: 9 }));
      }),
    );
  },
};

const gateway = process.env["PEREGRINE_URL"] ?? "http://127.0.0.1:8080";

export default defineConfig({
  base: "./",
  plugins: [contentSecurityPolicy, compressed],
  esbuild: { jsx: "automatic", jsxImportSource: "preact" },
  build: { target: "es2022", assetsInlineLimit: 0, modulePreload: { polyfill: false } },
  worker: { format: "es" },
  server: {
    proxy: { "/ws": { target: gateway, ws: true }, "/api": { target: gateway }, "/ingest": { target: gateway } },
  },
});
