// The kinds of panels, with what all of their kind have in common, and how they are laid out.
import type { Dashboard, Defaults, HeatMap, Panel, Row, Stat, Table, Target, TimeSeries, Variable } from './schema.ts';

const datasource = { type: 'prometheus', uid: '${datasource}' };

/** A query and the legend of its series. */
export type Query = [expr: string, legend: string];
/** Colours from these values on; below the first, green. */
export type Limits = [value: number, color: 'yellow' | 'orange' | 'red'][];

export interface Common {
  /** For those who see the panel for the first time. */
  about: string;
  /** Grafana's name of the unit. */
  unit?: string;
  decimals?: number;
  /** Of 24. */
  width?: number;
  height?: number;
  limits?: Limits;
}

const target = (expr: string, legend: string, number: number): Target => ({
  refId: String.fromCharCode(65 + number),
  datasource,
  expr,
  legendFormat: legend,
});

function head(title: string, { about, width, height }: Common, usual: { width: number; height: number }) {
  const gridPos = { x: 0, y: 0, w: width ?? usual.width, h: height ?? usual.height };
  return { title, description: about, datasource, gridPos };
}

function field({ unit, decimals, limits }: Common): Defaults<never> {
  const steps = [{ color: 'green', value: null }, ...(limits ?? []).map(([value, color]) => ({ color, value }))];
  return {
    ...(unit === undefined ? {} : { unit }),
    ...(decimals === undefined ? {} : { decimals }),
    ...(limits === undefined ? {} : { thresholds: { mode: 'absolute', steps } }),
  };
}

/** Lines over time; stacked where their sum means something. */
export function lines(title: string, queries: Query[], more: Common & { stack?: boolean; max?: number; log?: boolean }): TimeSeries {
  const { stack = false, max, log = false, limits } = more;
  return {
    ...head(title, more, { width: 12, height: 8 }),
    type: 'timeseries',
    targets: queries.map(([expr, legend], number) => target(expr, legend, number)),
    fieldConfig: {
      defaults: {
        ...field(more),
        ...(log ? {} : { min: 0 }),
        ...(max === undefined ? {} : { max }),
        color: { mode: 'palette-classic-by-name' },
        custom: {
          drawStyle: 'line',
          lineWidth: stack ? 1 : 2,
          fillOpacity: stack ? 60 : 0,
          showPoints: 'never',
          spanNulls: false,
          stacking: { mode: stack ? 'normal' : 'none' },
          thresholdsStyle: { mode: limits ? 'dashed' : 'off' },
          ...(log ? { scaleDistribution: { type: 'log', log: 10 } } : {}),
        },
      },
      overrides: [],
    },
    options: {
      legend: { displayMode: 'table', placement: 'right', showLegend: true, calcs: ['lastNotNull', 'max'], sortBy: 'Max', sortDesc: true },
      tooltip: { mode: 'multi', sort: 'desc' },
    },
  };
}

/** One number, with its course behind it. */
export function number(title: string, expr: string, more: Common): Stat {
  return {
    ...head(title, more, { width: 4, height: 4 }),
    type: 'stat',
    targets: [target(expr, title, 0)],
    fieldConfig: { defaults: { ...field(more), color: { mode: 'thresholds' } }, overrides: [] },
    options: {
      colorMode: 'value',
      graphMode: 'area',
      justifyMode: 'auto',
      orientation: 'auto',
      percentChangeColorMode: 'standard',
      reduceOptions: { calcs: ['lastNotNull'], fields: '', values: false },
      showPercentChange: false,
      textMode: 'value',
      wideLayout: true,
    },
  };
}

/** How many samples of a histogram fell where, over time. */
export function heat(title: string, histogram: string, more: Common): HeatMap {
  const query = target(`sum by (le) (increase(${histogram}[$__rate_interval]))`, '{{le}}', 0);
  return {
    ...head(title, more, { width: 12, height: 8 }),
    type: 'heatmap',
    targets: [{ ...query, format: 'heatmap' }],
    fieldConfig: { defaults: {}, overrides: [] },
    options: {
      calculate: false,
      cellGap: 0,
      color: { mode: 'scheme', scheme: 'Turbo', fill: 'dark-orange', scale: 'exponential', exponent: 0.5, steps: 64, reverse: false },
      exemplars: { color: 'rgba(255,0,255,0.7)' },
      filterValues: { le: 1e-9 },
      legend: { show: false },
      rowsFrame: { layout: 'auto' },
      showValue: 'never',
      tooltip: { mode: 'single', yHistogram: true },
      yAxis: { axisPlacement: 'left', ...(more.unit === undefined ? {} : { unit: more.unit }) },
    },
  };
}

/** A column of a table: its title, its query, and how its cells look. */
export type Column = [title: string, expr: string, look?: Pick<Common, 'unit' | 'decimals' | 'limits'>];

/** A row for each set of labels; the queries' values are its other columns. */
export function table(
  title: string,
  labels: string[],
  columns: Column[],
  more: Common & { links?: { title: string; url: string }[]; sortBy?: string },
): Table {
  const value = (number: number) => `Value #${String.fromCharCode(65 + number)}`;
  const order = [...labels, ...columns.map((_, number) => value(number))];
  return {
    ...head(title, more, { width: 24, height: 8 }),
    type: 'table',
    targets: columns.map(([, expr], number) => ({ ...target(expr, '', number), format: 'table', instant: true, range: false })),
    transformations: [
      { id: 'merge', options: {} },
      {
        id: 'organize',
        options: {
          excludeByName: { Time: true },
          indexByName: Object.fromEntries(order.map((name, index) => [name, index])),
          renameByName: Object.fromEntries(columns.map(([name], number) => [value(number), name])),
        },
      },
    ],
    fieldConfig: {
      defaults: { custom: { align: 'auto', cellOptions: { type: 'auto' }, inspect: false, filterable: true } },
      overrides: [
        ...columns.map(([name, , look]) => ({
          matcher: { id: 'byName', options: name },
          properties: [
            ...(look?.unit ? [{ id: 'unit', value: look.unit }] : []),
            ...(look?.decimals === undefined ? [] : [{ id: 'decimals', value: look.decimals }]),
            ...(look?.limits
              ? [
                  { id: 'thresholds', value: field(look as Common).thresholds },
                  { id: 'custom.cellOptions', value: { type: 'color-text' } },
                ]
              : []),
          ],
        })),
        ...(more.links ? [{ matcher: { id: 'byName', options: labels[0] }, properties: [{ id: 'links', value: more.links }] }] : []),
      ],
    },
    options: {
      cellHeight: 'sm',
      frameIndex: 0,
      showHeader: true,
      sortBy: [{ displayName: more.sortBy ?? labels[0]!, desc: more.sortBy !== undefined }],
    },
  };
}

/** A heading. */
export const row = (title: string): Row => ({ type: 'row', title, collapsed: false, panels: [] });

/** From left to right and from top to bottom, 24 wide. */
function layOut(panels: (Panel | Row)[]): (Panel | Row)[] {
  let [x, y, lineHeight] = [0, 0, 0];
  return panels.map((panel, index) => {
    const { w, h } = panel.gridPos ?? { w: 24, h: 1 };
    if (x + w > 24) [x, y, lineHeight] = [0, y + lineHeight, 0];
    const placed = { ...panel, id: index + 1, gridPos: { x, y, w, h } };
    [x, lineHeight] = [x + w, Math.max(lineHeight, h)];
    return placed;
  });
}

const choice = (name: string, label: string, query: string): Variable => ({
  type: 'query',
  name,
  label,
  datasource,
  query: { query: `label_values(${query}, ${name})`, refId: 'values' },
  refresh: 2,
  sort: 7,
  multi: true,
  includeAll: true,
  allValue: '.*',
  current: { text: ['All'], value: ['$__all'] },
});

const variables: Variable[] = [
  { type: 'datasource', name: 'datasource', label: 'Data source', query: 'prometheus', current: { text: 'Prometheus', value: 'prometheus' } },
  choice('camera', 'Camera', 'peregrine_source_up'),
  choice('worker', 'Worker', 'peregrine_build_info'),
];

/** A dashboard of these panels, with the choices that they use. */
export function dashboard(uid: string, title: string, description: string, panels: (Panel | Row)[]): Dashboard {
  const used = JSON.stringify(panels);
  return {
    uid: `peregrine-${uid}`,
    title: `Peregrine / ${title}`,
    description,
    tags: ['peregrine'],
    schemaVersion: 41,
    editable: true,
    graphTooltip: 1,
    refresh: '5s',
    time: { from: 'now-15m', to: 'now' },
    timezone: 'browser',
    templating: { list: variables.filter(({ name }) => used.includes(`$${name}`) || used.includes(`\${${name}}`)) },
    annotations: {
      list: [
        {
          name: 'Alerts',
          enable: true,
          iconColor: 'red',
          datasource,
          target: { refId: 'alerts', expr: 'ALERTS{alertstate="firing"}' },
        },
      ],
    },
    links: [
      {
        title: 'Peregrine',
        type: 'dashboards',
        tags: ['peregrine'],
        asDropdown: false,
        includeVars: true,
        keepTime: true,
        targetBlank: false,
        icon: 'external link',
        tooltip: '',
      },
    ],
    panels: layOut(panels),
  };
}
