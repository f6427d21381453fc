// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexextension

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/webhook"
)

func TestWebhooksAreToldOfWhatWasDone(t *testing.T) {
	var told atomic.Pointer[string]
	target := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		text := string(body)
		told.Store(&text)
	}))
	defer target.Close()
	hang := make(chan struct{})
	stuck := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang }))
	defer stuck.Close()
	defer close(hang)
	b := newBench(t, func(c *Config) {
		enforce(c)
		c.Webhooks = append(hooks(target.URL, nil), hooks(stuck.URL, func(w *WebhookConfig) { w.Format = webhook.JSON })...)
		c.Webhooks = append(c.Webhooks, hooks("https://x", func(w *WebhookConfig) { w.CAFile = "/no/such/file" })...)
	})
	b.start()
	contained(t, b)
	eventually(t, "the alert says whom", func() bool {
		text := told.Load()
		return text != nil && strings.Contains(*text, "/payment.service")
	})
	assert.Less(t, b.slow, 100*time.Millisecond, "and the arc waits for none of them")
	s := b.r.status().Webhooks
	require.Len(t, s, 2, "one whose certificates cannot be read is no reason not to start")
	assert.Equal(t, target.URL, s[0].Target)
	_, body := get(t, b, "/", "")
	assert.Contains(t, body, target.URL, "the page says who is told")
	began := time.Now()
	require.NoError(t, b.r.Shutdown(t.Context()))
	assert.Less(t, time.Since(began), 3*time.Second, "nor does the end")
}
