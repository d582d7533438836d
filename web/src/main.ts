import { mount } from 'svelte';
import App from './App.svelte';
import './app.css';
import { theme } from './lib/theme.svelte';

const target = document.getElementById('app');
if (!target) throw new Error('index.html has no element with the id "app"');

theme.start();
export default mount(App, { target });
