// Grafana's published types of a dashboard as its JSON spells them, with the options of each kind of panel that is used here.
import type { AnnotationQuery, Dashboard as AnyDashboard, FieldConfig, FieldConfigSource, Panel as AnyPanel } from '@grafana/schema';
import type * as heatmap from '@grafana/schema/dist/esm/raw/composable/heatmap/panelcfg/x/HeatmapPanelCfg_types.gen';
import type * as stat from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type * as table from '@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen';
import type * as timeseries from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';
import type { Dataquery } from '@grafana/grafana-foundation-sdk/prometheus';

// In JSON, the member of an enum is its value.
type Json<T> = T extends string ? `${T}` : T extends object ? { [K in keyof T]: Json<T[K]> } : T;

export type Defaults<Custom = unknown> = Omit<Json<FieldConfig>, 'custom'> & { custom?: Json<Custom> };
export type Target = Json<Omit<Dataquery, '_implementsDataqueryVariant'>> & { refId: string };
type Typed<Type, Options, Custom> = Omit<Json<AnyPanel>, 'type' | 'options' | 'fieldConfig' | 'targets'> & {
  type: Type;
  options: Json<Options>;
  fieldConfig: Omit<Json<FieldConfigSource>, 'defaults'> & { defaults: Defaults<Custom> };
  targets: Target[];
};

export type TimeSeries = Typed<'timeseries', timeseries.Options, timeseries.FieldConfig>;
export type Stat = Typed<'stat', stat.Options, never>;
export type HeatMap = Typed<'heatmap', heatmap.Options, heatmap.FieldConfig>;
export type Table = Typed<'table', table.Options, table.FieldConfig>;
export type Row = { type: 'row'; id?: number; title: string; collapsed: boolean; gridPos?: Json<AnyPanel>['gridPos']; panels: [] };
export type Panel = TimeSeries | Stat | HeatMap | Table;
type Annotation = Omit<Json<AnnotationQuery>, 'target'> & { target: Target };
export type Dashboard = Omit<Json<AnyDashboard>, 'panels' | 'annotations'> & {
  panels: (Panel | Row)[];
  annotations: { list: Annotation[] };
};
export type Variable = NonNullable<NonNullable<Dashboard['templating']>['list']>[number];
