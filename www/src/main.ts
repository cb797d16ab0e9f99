import type { DeviceChoice } from "setokim";
import { Conversation } from "./conversation.ts";
import { Engine } from "./engine.ts";
import { chosenModel, modelsFromText } from "./models.ts";
import { believeNamesFrom } from "./names.ts";
import { mountBench } from "./panels/bench.ts";
import { mountCamera } from "./panels/camera.ts";
import { mountChat } from "./panels/chat.ts";
import { mountCompare } from "./panels/compare.ts";
import { mountComposer } from "./panels/composer.ts";
import { mountExport } from "./panels/export.ts";
import { mountHint } from "./panels/hint.ts";
import { mountHistory } from "./panels/history.ts";
import { mountLegend } from "./panels/legend.ts";
import { mountLoading } from "./panels/loading.ts";
import { mountNotice } from "./panels/notice.ts";
import { mountOpen } from "./panels/open.ts";
import { mountPrivacy } from "./panels/privacy.ts";
import { mountSamples } from "./panels/samples.ts";
import { mountScene } from "./panels/scene.ts";
import { mountStage } from "./panels/stage.ts";
import { mountTheme } from "./panels/theme.ts";
import { mountTokenMenu } from "./panels/token-menu.ts";
import { mountTokens } from "./panels/tokens.ts";
import { mountToolbar } from "./panels/toolbar.ts";
import { mountWelcome } from "./panels/welcome.ts";
import { mountWorlds } from "./panels/worlds.ts";
import { savedPrecision } from "./precision.ts";
import { initialState, Store } from "./state.ts";
import { worldAt, worlds } from "./worlds/index.ts";

/** `?model=` names another folder in models/, `?device=` a device: for trying things out, and for the tests. */
const query = new URLSearchParams(location.search);
const models = modelsFromText(document.documentElement.dataset["models"] ?? "");
const { folder, kind } = chosenModel(models, query.get("model"));
const modelUrl = `models/${folder}/`;
const world = kind === undefined ? await worldAt(modelUrl) : worlds[kind];
const asked = query.get("device");
const choice: DeviceChoice = asked === "gpu" || asked === "cpu" ? asked : "auto";

believeNamesFrom(world.believable);
const store = new Store(initialState(world, choice, savedPrecision()));
const engine = new Engine(store, modelUrl);
const conversation = new Conversation(store, engine);

mountTheme();
mountWorlds(models, world.kind);
mountNotice(store);
mountLoading(store, engine);
mountWelcome(store, engine);
mountStage(store);
mountLegend(store);
mountCompare(store);
mountToolbar(store, engine);
mountHistory(store, engine);
mountChat(store, engine, conversation);
mountComposer(store, conversation);
mountTokens(store);
mountTokenMenu(store, conversation);
mountBench(store, engine);
mountPrivacy(store, engine);
mountExport(store);
mountOpen(store, engine);
mountCamera(store, engine);
mountHint(store);
store.on(["announcement"], ({ announcement }) => {
  const live = document.getElementById("live");
  if (live !== null) live.textContent = announcement;
});

// The page itself, for the next visit without a network. Development has no built files to keep.
if (import.meta.env.PROD) void navigator.serviceWorker?.register("sw.js").catch(() => undefined);

// From here on the panels say what is hidden.
delete document.documentElement.dataset["world"];

// A picture to look at while the model loads; all samples are fetched now, so that nothing is later.
void mountSamples(store, engine);
void mountScene(store, engine);
void engine.start(choice);
