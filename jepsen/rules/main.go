// Rules looks at alert rules and dashboards with Prometheus' own parsers: their syntax, and whether each metric and label
// they name is there on the pages of metrics they are for. Names that begin with quorate_ must be on ours alone, all others
// on stock etcd's, too.
//
//	go run . FILE.yaml FILE.json ... -- OURS.txt ... -- STOCK.txt ...
package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

var promql = parser.NewParser(parser.Options{})

// What Prometheus adds to every series.
var everywhere = []string{"job", "instance"}

// A family: its kind, and the labels its series have.
type family struct {
	kind   string
	labels map[string]bool
}

// A page of metrics, or several.
type page map[string]*family

func (p page) read(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	for _, line := range strings.Split(string(text), "\n") {
		if words := strings.Fields(line); strings.HasPrefix(line, "# TYPE ") && len(words) == 4 {
			if p[words[2]] == nil {
				p[words[2]] = &family{kind: words[3], labels: map[string]bool{}}
			}
			continue
		}
		end := strings.LastIndex(line, " ")
		if strings.HasPrefix(line, "#") || end < 0 {
			continue
		}
		metric, err := promql.ParseMetric(line[:end])
		if err != nil {
			return fmt.Errorf("%s: %q: %w", file, line, err)
		}
		_, of := p.find(metric.Get(labels.MetricName))
		if of == nil {
			return fmt.Errorf("%s: %q has no TYPE before it", file, line)
		}
		metric.Range(func(label labels.Label) { of.labels[label.Name] = true })
	}
	return nil
}

// The family of a name as queries have it: of a histogram's parts, the histogram.
func (p page) find(name string) (string, *family) {
	if of := p[name]; of != nil && of.kind != "histogram" {
		return name, of
	}
	for _, part := range []string{"_bucket", "_sum", "_count"} {
		if whole, cut := strings.CutSuffix(name, part); cut && p[whole] != nil && p[whole].kind == "histogram" {
			return whole, p[whole]
		}
	}
	return name, nil
}

type checker struct {
	ours, stock page
	wrong       int
	seen        int
}

func (c *checker) fail(where, format string, args ...any) {
	c.wrong++
	fmt.Printf("%s: %s\n", where, fmt.Sprintf(format, args...))
}

// Looks at one query; the labels its series can have.
func (c *checker) query(where, text string) map[string]bool {
	expr, err := promql.ParseExpr(text)
	if err != nil {
		c.fail(where, "%v", err)
		return nil
	}
	known := map[string]bool{}
	for _, label := range everywhere {
		known[label] = true
	}
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		if selector, is := node.(*parser.VectorSelector); is {
			c.selector(where, selector, known)
		}
		return nil
	})
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		var named []string
		switch node := node.(type) {
		case *parser.AggregateExpr:
			named = node.Grouping
		case *parser.BinaryExpr:
			if node.VectorMatching != nil {
				named = append(append(named, node.VectorMatching.MatchingLabels...), node.VectorMatching.Include...)
			}
		}
		for _, label := range named {
			if !known[label] {
				c.fail(where, "no series in it has the label %s", label)
			}
		}
		return nil
	})
	return known
}

func (c *checker) selector(where string, selector *parser.VectorSelector, known map[string]bool) {
	c.seen++
	if selector.Name == "up" {
		return
	}
	pages := []struct {
		whose string
		page  page
	}{{"ours", c.ours}, {"stock etcd's", c.stock}}
	for _, of := range pages {
		if of.whose != "ours" && strings.HasPrefix(selector.Name, "quorate_") {
			continue
		}
		_, family := of.page.find(selector.Name)
		if family == nil {
			c.fail(where, "%s is not on %s", selector.Name, of.whose)
			continue
		}
		for _, matcher := range selector.LabelMatchers {
			label := matcher.Name
			if label != labels.MetricName && label != "job" && label != "instance" && !family.labels[label] {
				c.fail(where, "%s has no label %s on %s", selector.Name, label, of.whose)
			}
		}
		for label := range family.labels {
			known[label] = true
		}
	}
}

var mentioned = regexp.MustCompile(`\$labels\.([a-zA-Z_]+)`)

func (c *checker) rules(file string) {
	groups, errs := rulefmt.ParseFile(file, false, model.UTF8Validation, promql, slog.Default())
	for _, err := range errs {
		c.fail(file, "%v", err)
	}
	if groups == nil {
		return
	}
	for _, group := range groups.Groups {
		for _, rule := range group.Rules {
			where := file + ": " + rule.Alert + rule.Record
			known := c.query(where, rule.Expr)
			for _, text := range rule.Annotations {
				for _, label := range mentioned.FindAllStringSubmatch(text, -1) {
					if !known[label[1]] {
						c.fail(where, "an annotation names the label %s", label[1])
					}
				}
			}
		}
	}
}

var (
	variables = strings.NewReplacer("$__rate_interval", "5m", "$__range", "1h", "$job", "any", "$instance", "any")
	values    = regexp.MustCompile(`^label_values\((.+), *([a-zA-Z_]+)\)$`)
)

func (c *checker) dashboard(file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		c.fail(file, "%v", err)
		return
	}
	var whole any
	if err := json.Unmarshal(text, &whole); err != nil {
		c.fail(file, "%v", err)
		return
	}
	c.inside(file, whole)
}

func (c *checker) inside(where string, value any) {
	switch value := value.(type) {
	case map[string]any:
		if title, is := value["title"].(string); is {
			where += ": " + title
		}
		for key, inner := range value {
			text, is := inner.(string)
			switch {
			case is && key == "expr":
				c.query(where, variables.Replace(text))
			case is && key == "query" && text != "prometheus":
				parts := values.FindStringSubmatch(variables.Replace(text))
				if parts == nil {
					c.fail(where, "%q is not understood", text)
				} else if known := c.query(where, parts[1]); !known[parts[2]] {
					c.fail(where, "no series has the label %s", parts[2])
				}
			default:
				c.inside(where, inner)
			}
		}
	case []any:
		for _, inner := range value {
			c.inside(where, inner)
		}
	}
}

func main() {
	c := checker{ours: page{}, stock: page{}}
	part, files := 0, 0
	var looked []string
	for _, arg := range os.Args[1:] {
		var err error
		switch {
		case arg == "--":
			part++
		case part == 0:
			looked = append(looked, arg)
		case part == 1:
			err = c.ours.read(arg)
		case part == 2:
			err = c.stock.read(arg)
		}
		if err != nil {
			fmt.Println(err)
			os.Exit(2)
		}
	}
	if part != 2 || len(looked) == 0 || len(c.ours) == 0 || len(c.stock) == 0 {
		fmt.Println("usage: rules FILE.yaml FILE.json ... -- OURS.txt ... -- STOCK.txt ...")
		os.Exit(2)
	}
	for _, file := range looked {
		files++
		if strings.HasSuffix(file, ".json") {
			c.dashboard(file)
		} else {
			c.rules(file)
		}
	}
	fmt.Printf("%d files, %d selectors, %d wrong\n", files, c.seen, c.wrong)
	if c.wrong > 0 || c.seen == 0 {
		os.Exit(1)
	}
}
