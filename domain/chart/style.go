package chart

// Style is the style sheet of the drawings. A page may set the variables
// anywhere above them to fit its own colours.
const Style = `
.chart{max-width:100%;height:auto;color:inherit;
--chart-0:#0072b2;--chart-1:#c04f00;--chart-2:#007a59;--chart-3:#a8497f;--chart-4:#5b6370;--chart-5:#7a5c00;
--chart-pass:#18794e;--chart-fail:#b4233c;--chart-hold:#9a6200;--chart-open:#8a929e}
@media(prefers-color-scheme:dark){.chart{
--chart-0:#5cb3ec;--chart-1:#f0904f;--chart-2:#43c59e;--chart-3:#e29bc4;--chart-4:#a9b1bd;--chart-5:#d9b84a;
--chart-pass:#4cc38a;--chart-fail:#ff7b8f;--chart-hold:#f0b03f;--chart-open:#7c8592}}
.chart text{font:11px system-ui,sans-serif;fill:currentColor}
.chart .head{font-weight:600;font-size:12px}.chart .faint{opacity:.75}
.chart .axis{stroke:currentColor;opacity:.55;fill:none}.chart .grid{stroke:currentColor;opacity:.16}
.chart .mark{stroke:var(--chart-hold);stroke-dasharray:4 3;fill:none}
.chart .line{fill:none;stroke-width:2}.chart .edge{stroke:currentColor;opacity:.5;fill:none}
.chart .s0{stroke:var(--chart-0)}.chart .s1{stroke:var(--chart-1);stroke-dasharray:7 3}.chart .s2{stroke:var(--chart-2);stroke-dasharray:2 3}
.chart .s3{stroke:var(--chart-3);stroke-dasharray:9 3 2 3}.chart .s4{stroke:var(--chart-4);stroke-dasharray:12 4}.chart .s5{stroke:var(--chart-5);stroke-dasharray:4 2 1 2}
.chart .dot{stroke-dasharray:none;stroke:none}
.chart .dot.s0{fill:var(--chart-0)}.chart .dot.s1{fill:var(--chart-1)}.chart .dot.s2{fill:var(--chart-2)}
.chart .dot.s3{fill:var(--chart-3)}.chart .dot.s4{fill:var(--chart-4)}.chart .dot.s5{fill:var(--chart-5)}
.chart .pass{fill:var(--chart-pass)}.chart .fail{fill:var(--chart-fail)}.chart .hold{fill:var(--chart-hold)}.chart .open{fill:var(--chart-open)}
.chart .span{opacity:.45}.chart .band{opacity:.22}.chart .track{fill:currentColor;opacity:.12}
.chart .now{stroke:currentColor;stroke-width:2}.chart .box{fill:currentColor;fill-opacity:.06;stroke:currentColor;stroke-opacity:.5}
.chart .chosen{stroke-width:2;stroke-opacity:1}
@media print{.chart{--chart-open:#777}}
`

// fileStyle is what a document of its own needs besides.
const fileStyle = `
.chart{color:#1b1f24;font-family:system-ui,sans-serif}.paper{fill:#fff}
@media(prefers-color-scheme:dark){.chart{color:#e6e9ee}.paper{fill:#14171c}}
`
