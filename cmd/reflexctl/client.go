// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

const (
	defaultEndpoint = "http://127.0.0.1:13134"
	answerWithin    = 10 * time.Second
	// maxAnswer bounds what is read of an answer: whoever listens at the
	// endpoint need not be Reflex.
	maxAnswer = 64 << 20
)

// client asks the status API of the reflex extension.
type client struct{ endpoint string }

func endpointFlag(c *cobra.Command) *client {
	cl := &client{}
	c.Flags().StringVar(&cl.endpoint, "endpoint", defaultEndpoint, "status::endpoint of the reflex extension, as a URL")
	return cl
}

// get reads the JSON at path into v.
func (c *client) get(ctx context.Context, path string, query url.Values, v any) error {
	endpoint := c.endpoint
	if !strings.Contains(endpoint, "://") {
		endpoint = "http://" + endpoint
	}
	base, err := url.Parse(endpoint)
	if err != nil {
		return fmt.Errorf("endpoint: %w", err)
	}
	target := base.JoinPath(path)
	target.RawQuery = query.Encode()
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), http.NoBody)
	if err != nil {
		return fmt.Errorf("endpoint: %w", err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("ask the reflex extension (is the collector running, and is this its status::endpoint?): %w", err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read %s: %w", target, err)
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("get %s: %s: %s", target, answer.Status, printable(strings.TrimSpace(string(body[:min(len(body), 200)]))))
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("read the answer of %s, which is perhaps not Reflex: %w", target, err)
	}
	return nil
}
