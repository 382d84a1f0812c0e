/** The one library of this page. The build puts lit-html's own module in this file's place, so that a browser can load it as it is. */
export { html, nothing, render, type TemplateResult } from 'lit-html';
