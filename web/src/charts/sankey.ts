// Flow with real widths: from sun, batteries and grid through the neighbourhood to homes and back.

import { through, type Flow, type FlowNode } from '../lib/flow';
import { narrow, row, tooltip, type Look } from './style';

const SIDE = 2;
/** Room for the names above the first row. */
const TOP = 30;
const BOTTOM = 6;

export function sankey(flow: Flow, say: (value: number) => string, look: Look) {
  const { palette } = look;
  const tone = new Map(flow.nodes.map((node) => [node.id, palette.tone[node.tone]]));
  const name = new Map(flow.nodes.map((node) => [node.id, node.name]));
  const small = narrow(look);
  const gap = small ? 34 : 38;
  const width = small ? 10 : 14;
  const spots = places(flow, { width: look.width - 2 * SIDE, height: look.height - TOP - BOTTOM, gap, node: width });
  return {
    animation: false,
    tooltip: { ...tooltip(look), trigger: 'item', formatter: (hit: Hit) => hint(hit, tone, name, say) },
    series: [
      {
        type: 'sankey',
        left: SIDE,
        right: SIDE,
        top: TOP,
        bottom: BOTTOM,
        nodeWidth: width,
        nodeGap: gap,
        draggable: false,
        emphasis: { focus: 'adjacency' },
        layoutIterations: 0,
        data: flow.nodes.map((node) => ({
          name: node.id,
          depth: node.column,
          localX: spots.get(node.id)?.x,
          localY: spots.get(node.id)?.y,
          itemStyle: { color: tone.get(node.id), borderWidth: 0 },
          label: label(node, say(through(flow, node.id)), look, small && (spots.get(node.id)?.y ?? 0) * look.height < 24),
        })),
        links: flow.links.map((link) => ({
          source: link.from,
          target: link.to,
          value: link.value,
          lineStyle: { color: tone.get(paint(link)), opacity: 0.34, curveness: 0.5 },
        })),
      },
    ],
  };
}

/**
 * Where each node stands, as parts of the drawing. The columns keep their order whatever flows, so
 * that nothing jumps from one second to the next; the middle stands where its links run straightest.
 */
export function places(flow: Flow, room: { width: number; height: number; gap: number; node: number }) {
  const columns = [0, 1, 2].map((column) => flow.nodes.filter((node) => node.column === column));
  const scale = Math.min(
    ...columns.filter((nodes) => nodes.length > 0).map((nodes) => (room.height - (nodes.length - 1) * room.gap) / nodes.reduce((sum, node) => sum + through(flow, node.id), 0)),
  );
  const top = new Map<string, number>();
  for (const nodes of columns) {
    let y = 0;
    for (const node of nodes) {
      top.set(node.id, y);
      y += through(flow, node.id) * scale + room.gap;
    }
  }
  const edge = (id: string, end: 'from' | 'to') => {
    const other = end === 'from' ? 'to' : 'from';
    let at = top.get(id) ?? 0;
    return flow.links
      .filter((link) => link[end] === id)
      .map((link) => {
        const y = at;
        at += link.value * scale;
        return { other: link[other], y, value: link.value };
      });
  };
  for (const middle of columns[1] ?? []) {
    const ends = [...flow.nodes.flatMap((node) => (node.column === 1 ? [] : [...edge(node.id, 'from'), ...edge(node.id, 'to')]))].filter((one) => one.other === middle.id);
    const weight = ends.reduce((sum, one) => sum + one.value, 0);
    const y = ends.reduce((sum, one) => sum + one.y * one.value, 0) / (weight || 1);
    top.set(middle.id, Math.min(y, room.height - through(flow, middle.id) * scale));
  }
  const x = (column: number) => ((column / 2) * (room.width - room.node)) / room.width;
  return new Map(flow.nodes.map((node) => [node.id, { x: x(node.column), y: (top.get(node.id) ?? 0) / room.height }]));
}

/** A link has the colour of where it comes from; what neighbours pass on is theirs. */
const paint = (link: { from: string; to: string }) => (link.to === 'near' ? 'near' : link.from);

/** Names stand above their node; on a phone the middle one steps below when all three share a line. */
function label({ column, name }: FlowNode, value: string, { palette }: Look, crowded: boolean) {
  const halo = { textBorderColor: palette.surface, textBorderWidth: 2 };
  const align = column === 0 ? 'left' : column === 1 ? 'center' : 'right';
  return {
    position: column === 0 ? ['0%', -19] : column === 2 ? ['100%', -19] : crowded ? ['50%', '105%'] : ['50%', -19],
    align,
    formatter: `{name|${name}} {value|${value}}`,
    rich: {
      name: { color: palette.muted, fontFamily: palette.font, fontSize: 13, ...halo },
      value: { color: palette.ink, fontFamily: palette.font, fontSize: 13, fontWeight: 650, ...halo },
    },
  };
}

interface Hit {
  dataType: 'node' | 'edge';
  name: string;
  value: number;
  data: { source?: string; target?: string };
}

function hint(hit: Hit, tone: Map<string, unknown>, name: Map<string, string>, say: (value: number) => string) {
  const of = (id?: string) => name.get(id ?? '') ?? '';
  if (hit.dataType === 'node') return row(String(tone.get(hit.name)), of(hit.name), say(hit.value));
  return row(String(tone.get(hit.data.source ?? '')), `${of(hit.data.source)} → ${of(hit.data.target)}`, say(hit.value));
}
