// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexextension

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"go.opentelemetry.io/collector/config/configopaque"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"
	"golang.org/x/net/http/httpguts"

	"github.com/otelcol-reflex/reflex/internal/policy"
	"github.com/otelcol-reflex/reflex/internal/webhook"
)

// mostWebhooks bounds them: each follows the journal by itself.
const mostWebhooks = 16

// WebhookConfig is one HTTP server that is told of episodes.
type WebhookConfig struct {
	// URL is its address: of an Alertmanager without /api/v2/alerts.
	URL configopaque.String `mapstructure:"url"`
	// Format is "alertmanager" or "json".
	Format webhook.Format `mapstructure:"format"`
	// Secret signs JSON (HMAC-SHA256).
	Secret configopaque.String `mapstructure:"secret"`
	// Headers are added to every request.
	Headers map[string]configopaque.String `mapstructure:"headers"`
	// MinLevel is the level that an episode must reach to be told, 1 to 5.
	MinLevel int `mapstructure:"min_level"`
	// Timeout bounds an attempt, Retries how many follow the first.
	Timeout time.Duration `mapstructure:"timeout"`
	Retries int           `mapstructure:"retries"`
	// CAFile holds the certificates that https is trusted by; empty: the system's.
	CAFile string `mapstructure:"ca_file"`
	// AllowLinkLocal permits link-local and cloud-metadata addresses.
	AllowLinkLocal bool `mapstructure:"allow_link_local"`
}

var _ confmap.Unmarshaler = (*WebhookConfig)(nil)

// Unmarshal implements [confmap.Unmarshaler]: the elements of a list have defaults too.
func (c *WebhookConfig) Unmarshal(conf *confmap.Conf) error {
	c.Format, c.MinLevel, c.Timeout, c.Retries = webhook.Alertmanager, policy.LevelContainment, 10*time.Second, 5
	return conf.Unmarshal(c)
}

func (c *WebhookConfig) validate(key string, refuse func(key, format string, args ...any)) {
	if _, err := webhook.ParseURL(string(c.URL), c.AllowLinkLocal); err != nil {
		refuse(key+"::url", "%v", err)
	}
	if c.Format != webhook.Alertmanager && c.Format != webhook.JSON {
		refuse(key+"::format", "must be %s or %s, is %q", webhook.Alertmanager, webhook.JSON, c.Format)
	}
	if c.Secret != "" && c.Format != webhook.JSON {
		refuse(key+"::secret", "signs format %s only: an Alertmanager takes headers::Authorization", webhook.JSON)
	}
	for name, value := range c.Headers {
		if !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(string(value)) {
			refuse(key+"::headers", "%q, or its value, is no header", name)
		}
	}
	if c.MinLevel < policy.LevelWatchful || c.MinLevel > policy.LevelQuarantine {
		refuse(key+"::min_level", "must be %d to %d, is %d", policy.LevelWatchful, policy.LevelQuarantine, c.MinLevel)
	}
	if c.Timeout < 100*time.Millisecond || c.Timeout > time.Minute {
		refuse(key+"::timeout", "must be 100ms to 1m, is %s", c.Timeout)
	}
	if c.Retries < 0 || c.Retries > 20 {
		refuse(key+"::retries", "must be 0 to 20, is %d", c.Retries)
	}
	if c.CAFile != "" && !filepath.IsAbs(c.CAFile) {
		refuse(key+"::ca_file", "must be an absolute path, is %q", c.CAFile)
	}
}

// trust returns the TLS settings for a target.
func (c *WebhookConfig) trust() (*tls.Config, error) {
	if c.CAFile == "" {
		return nil, nil
	}
	text, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, errors.New("holds no certificate")
	}
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, nil
}

// hook makes the webhook of a configuration that was validated.
func (r *reflex) hook(i int, c *WebhookConfig) (*webhook.Hook, error) {
	u, err := webhook.ParseURL(string(c.URL), c.AllowLinkLocal)
	if err != nil {
		return nil, err
	}
	trust, err := c.trust()
	if err != nil {
		return nil, fmt.Errorf("ca_file %s: %w", c.CAFile, err)
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	header := http.Header{}
	for name, value := range c.Headers {
		header.Set(name, string(value))
	}
	page := ""
	if r.page != nil {
		page = "http://" + r.page.listen.Addr().String() + "/"
	}
	// Its name, whatever its place in the list: a journal that is kept knows how far it was.
	hash := sha256.Sum256([]byte(string(c.Format) + " " + string(c.URL)))
	name := "webhook/" + hex.EncodeToString(hash[:8])
	return webhook.New(webhook.Settings{
		URL: u, Format: c.Format, Secret: []byte(c.Secret), Header: header, MinLevel: c.MinLevel,
		Timeout: c.Timeout, Retries: c.Retries, FirstRetry: time.Second, AllowLinkLocal: c.AllowLinkLocal, TLS: trust,
		Host: host, Version: r.build.Version, Page: page, Now: r.wall, Logger: r.logger.Named("webhook"),
		Count: func(result string, n int) {
			r.tel.ReflexWebhookMessages.Add(context.Background(), int64(n), metric.WithAttributes(
				attribute.Int("reflex.webhook", i), attribute.String("reflex.webhook.result", result)))
		},
	}, r.journal, name), nil
}

// tellWebhooks starts them. One that cannot be is no reason not to start.
func (r *reflex) tellWebhooks(ctx context.Context) {
	for i := range r.cfg.Webhooks {
		h, err := r.hook(i, &r.cfg.Webhooks[i]) //nolint:contextcheck // a count belongs to nobody
		if err != nil {
			r.logger.Error("a webhook is not told", zap.Int("webhook", i), zap.Error(err))
			continue
		}
		r.hooks = append(r.hooks, h)
		r.workers.Go(func() { h.Run(ctx) })
	}
}
