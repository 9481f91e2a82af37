// What a dashboard's JSON may say: Grafana's own types, which Grafana generates from its schemas, put together so that
// nothing is left open. Where Grafana says "any object" (a panel's options, a field's custom configuration, a query)
// the types of the panel in question stand here, so that a name that is misspelt there is found too.

import type * as dashboard from '@grafana/schema/dist/types/raw/dashboard/x/types.gen';
import type * as heatmap from '@grafana/schema/dist/types/raw/composable/heatmap/panelcfg/x/types.gen';
import type * as stat from '@grafana/schema/dist/types/raw/composable/stat/panelcfg/x/types.gen';
import type * as timeseries from '@grafana/schema/dist/types/raw/composable/timeseries/panelcfg/x/types.gen';

// A type as JSON has it: the values of an enum and not its names.
type Json<T> = T extends string
  ? `${T}`
  : T extends number | boolean | null | undefined
    ? T
    : T extends readonly (infer E)[]
      ? Json<E>[]
      : T extends object
        ? { [K in keyof T]: Json<T[K]> }
        : T;

// A query of the Prometheus data source, as far as it is used here. Grafana publishes no type of it.
interface Target {
  datasource: { type: 'prometheus'; uid: '${datasource}' };
  editorMode: 'code';
  expr: string;
  format?: 'time_series' | 'heatmap' | 'table';
  legendFormat: string;
  range: true;
  refId: string;
}

// Of what may be left out, what a reader needs must be there: title, description, unit, place.
type PanelOf<Type extends string, Options, Custom> = Json<
  Omit<dashboard.Panel, 'type' | 'options' | 'fieldConfig' | 'targets' | 'title' | 'description' | 'gridPos' | 'id'>
> & {
  type: Type;
  id: number;
  title: string;
  description: string;
  gridPos: dashboard.GridPos;
  datasource: { type: 'prometheus'; uid: '${datasource}' };
  targets: Target[];
  options: Json<Options>;
  fieldConfig: {
    defaults: Json<Omit<dashboard.FieldConfig, 'custom' | 'unit'>> & { unit: string; custom?: Json<Custom> };
    overrides: [];
  };
};

type Row = Json<Omit<dashboard.RowPanel, 'panels'>> & { panels: [] };

type Panel =
  | Row
  | PanelOf<'timeseries', timeseries.Options, timeseries.FieldConfig>
  | PanelOf<'stat', stat.Options, Record<string, never>>
  | PanelOf<'heatmap', heatmap.Options, heatmap.FieldConfig>;

export type Dashboard = Json<Omit<dashboard.Dashboard, 'panels' | 'title' | 'uid' | 'description'>> & {
  title: string;
  uid: string;
  description: string;
  panels: Panel[];
};
