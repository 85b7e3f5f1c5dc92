// Writes dashboards/*.json; with --check, says which are not as they would be written. Either way it leaves each as TypeScript in
// literal/, where tsc holds exactly what Grafana will read against Grafana's types.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { clients } from './clients.ts';
import { machine } from './machine.ts';
import { overview } from './overview.ts';
import { stages } from './stages.ts';
import { streams } from './streams.ts';

const folder = join(import.meta.dirname, '..');
mkdirSync(join(folder, 'literal'), { recursive: true });
for (const [name, dashboard] of Object.entries({ overview, stages, streams, clients, machine })) {
  const path = join(folder, 'dashboards', `${name}.json`);
  const text = `${JSON.stringify(dashboard, null, 2)}\n`;
  if (!process.argv.includes('--check')) {
    writeFileSync(path, text);
  } else if (readFileSync(path, 'utf8') !== text) {
    console.error(`grafana/dashboards/${name}.json is not what grafana/src makes: run npm --prefix grafana run generate`);
    process.exitCode = 1;
  }
  const literal = readFileSync(path, 'utf8');
  writeFileSync(
    join(folder, 'literal', `${name}.ts`),
    `import type { Dashboard } from '../src/schema.ts';\nexport const ${name}: Dashboard = ${literal.trimEnd()};\n`,
  );
}
