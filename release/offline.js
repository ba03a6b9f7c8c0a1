// A browser runs no worker from a file: URL. This one runs its script in a hidden frame, for the search to work there.
if (location.protocol === "file:") {
    window.Worker = class extends EventTarget {
        constructor(url) {
            super();
            this.onmessage = this.onerror = null;
            this.frame = document.createElement("iframe");
            this.frame.hidden = true;
            const place = new URL(url, document.baseURI).href.replaceAll("&", "&amp;").replaceAll('"', "&quot;");
            this.frame.srcdoc = `<script>
                window.postMessage = (data) => parent.dispatchEvent(new MessageEvent("frame", { data: structuredClone(data), source: window }));
            <\/script><script src="${place}"><\/script>`;
            this.ready = new Promise((loaded) => this.frame.addEventListener("load", loaded));
            window.addEventListener("frame", (event) => {
                if (event.source !== this.frame.contentWindow) return;
                const message = new MessageEvent("message", { data: event.data });
                this.dispatchEvent(message);
                if (this.onmessage) this.onmessage(message);
            });
            document.documentElement.append(this.frame);
        }

        postMessage(data) {
            this.ready.then(() => this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data: structuredClone(data) })));
        }

        terminate() {
            this.frame.remove();
        }
    };
}
