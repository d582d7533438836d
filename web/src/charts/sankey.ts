// Flow with real widths: from sun, batteries and grid through the neighbourhood to homes and back.

import { through, type Flow } from '../lib/flow';
import { narrow, row, tooltip, type Look } from './style';

export function sankey(flow: Flow, say: (value: number) => string, look: Look) {
  const { palette } = look;
  const tone = new Map(flow.nodes.map((node) => [node.id, palette.tone[node.tone]]));
  const name = new Map(flow.nodes.map((node) => [node.id, node.name]));
  const small = narrow(look);
  return {
    animation: false,
    tooltip: { ...tooltip(look), trigger: 'item', formatter: (hit: Hit) => hint(hit, tone, name, say) },
    series: [
      {
        type: 'sankey',
        left: 2,
        right: 2,
        top: 30,
        bottom: 6,
        nodeWidth: small ? 10 : 14,
        nodeGap: small ? 34 : 38,
        draggable: false,
        emphasis: { focus: 'adjacency' },
        layoutIterations: 24,
        data: flow.nodes.map((node) => ({
          name: node.id,
          depth: node.column,
          itemStyle: { color: tone.get(node.id), borderWidth: 0 },
          label: label(node.column, node.name, say(through(flow, node.id)), look),
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

/** A link has the colour of where it comes from; what neighbours pass on is theirs. */
const paint = (link: { from: string; to: string }) => (link.to === 'near' ? 'near' : link.from);

function label(column: 0 | 1 | 2, name: string, value: string, { palette }: Look) {
  const align = column === 0 ? 'left' : column === 1 ? 'center' : 'right';
  return {
    position: column === 0 ? ['0%', -19] : column === 1 ? ['50%', -19] : ['100%', -19],
    align,
    formatter: `{name|${name}} {value|${value}}`,
    rich: {
      name: { color: palette.muted, fontFamily: palette.font, fontSize: 13 },
      value: { color: palette.ink, fontFamily: palette.font, fontSize: 13, fontWeight: 650 },
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
