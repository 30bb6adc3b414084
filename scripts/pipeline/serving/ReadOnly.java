// What a client of `make serve` may do, and which password it needs over JDBC; and the parser of its
// SQL.
// Spark's own compiler of generated code, Janino, compiles this file when the server starts
// (server.py): no JDK is needed. Janino knows no lambdas and no type arguments.

package pipeline.serving;

import java.security.MessageDigest;
import java.util.*;
import javax.security.sasl.AuthenticationException;
import org.apache.hive.service.auth.PasswdAuthenticationProvider;
import org.apache.spark.sql.AnalysisException;
import org.apache.spark.sql.catalyst.analysis.*;
import org.apache.spark.sql.catalyst.parser.*;
import org.apache.spark.sql.catalyst.plans.logical.*;
import org.apache.spark.sql.delta.catalog.DeltaTableV2;
import org.apache.spark.sql.execution.SparkSqlParser;
import org.apache.spark.sql.execution.command.*;
import org.apache.spark.sql.execution.datasources.*;
import org.apache.spark.sql.execution.datasources.v2.DataSourceV2Relation;
import org.sparkproject.connect.grpc.*;
import org.sparkproject.connect.protobuf.Message;
import scala.runtime.*;

/** A check of every analyzed plan, for SparkSessionExtensions.injectCheckRule: AnalysisException
    for a plan that changes something, or that reads anything outside `folder`. */
public class ReadOnly extends AbstractFunction1 {
  static final List COMMANDS = Arrays.asList(new String[] {
      "ExplainCommand", "ResetCommand", "SetCatalogAndNamespace",
      "SetNamespaceCommand", "DropTempViewCommand"});
  private final String folder;

  /** folder: where the feeds lie, as an address that ends in a slash. */
  public ReadOnly(String folder) {
    this.folder = folder;
  }

  /** SparkSession -> its check. */
  public Object apply(Object session) {
    return new AbstractFunction1() {
      public Object apply(Object plan) {
        check((LogicalPlan) plan);
        return BoxedUnit.UNIT;
      }
    };
  }

  void check(LogicalPlan plan) {
    if (plan instanceof Command && !isHarmless(plan)) {
      refuse("This server only answers queries: it refuses "
          + plan.getClass().getSimpleName() + ". (Temporary views are allowed.)");
    }
    if (plan instanceof LogicalRelation) {
      Object relation = ((LogicalRelation) plan).relation();
      require(relation, HadoopFsRelation.class);
      for (Object path : list(((HadoopFsRelation) relation).location().rootPaths())) {
        checkPath(path.toString());
      }
    } else if (plan instanceof DataSourceV2Relation) {
      Object table = ((DataSourceV2Relation) plan).table();
      require(table, DeltaTableV2.class);
      checkPath(((DeltaTableV2) table).path().toString());
    } else if (plan.isStreaming()) {
      outside("a stream");
    }
    List inner = new ArrayList(list(plan.children()));
    inner.addAll(list(plan.subqueries()));
    inner.addAll(list(plan.innerChildren()));
    for (Object each : inner) {
      if (each instanceof LogicalPlan) {
        check((LogicalPlan) each);
      }
    }
  }

  private void require(Object source, Class known) {
    if (!known.isInstance(source)) {
      outside(source.getClass().getSimpleName());
    }
  }

  private static boolean isHarmless(LogicalPlan command) {
    if (command instanceof CreateViewCommand) { // other views would be seen by other clients
      return ((CreateViewCommand) command).viewType() == LocalTempView$.MODULE$;
    }
    if (command instanceof SetCommand) {
      scala.Option setting = ((SetCommand) command).kv();
      scala.Tuple2 given = (scala.Tuple2) setting.getOrElse(null);
      // without a value it shows settings
      return given == null || ((scala.Option) given._2()).isEmpty() || maySet((String) given._1());
    }
    String name = command.getClass().getSimpleName();
    return name.startsWith("Show") || name.startsWith("Describe") || COMMANDS.contains(name);
  }

  /** Settings of Spark SQL, without those that load classes or leave this check out. */
  static boolean maySet(String setting) {
    return setting.startsWith("spark.sql.") && !setting.startsWith("spark.sql.catalog.")
        && !setting.startsWith("spark.sql.analyzer.");
  }

  private void checkPath(String path) {
    if (!path.startsWith(folder) || path.contains("/../")) {
      outside(path);
    }
  }

  private void outside(String what) {
    refuse("This server reads only the feeds, at " + folder + ": it refuses " + what + ".");
  }

  private static void refuse(String message) { // in Spark's class for what a client may be told
    org.apache.spark.unsafe.Platform.throwException(new AnalysisException(
        "USER_RAISED_EXCEPTION",
        new scala.collection.immutable.Map.Map1("errorMessage", message)));
  }

  private static Collection list(scala.collection.Iterable scalaValues) {
    return scala.jdk.javaapi.CollectionConverters.asJavaCollection(scalaValues);
  }

  /** Refuses requests of Spark Connect that carry code, write, or read by another data source:
      they would act before a plan is analyzed. Their messages are those of spark/connect/*.proto. */
  public static class Requests implements ServerInterceptor {
    static final List COMMANDS = Arrays.asList(new String[] {
        "sql_command", "create_dataframe_view", "remove_cached_remote_relation_command",
        "get_resources_command"});
    static final List FORMATS = Arrays.asList(new String[] {"delta", "parquet"});

    public ServerCall.Listener interceptCall(
        final ServerCall call, Metadata headers, ServerCallHandler next) {
      return new ForwardingServerCallListener.SimpleForwardingServerCallListener(
          next.startCall(call, headers)) {
        private boolean closed;

        public void onMessage(Object message) {
          String refused = closed ? null : refused((Message) message, "");
          if (refused != null) {
            closed = true;
            call.close(Status.PERMISSION_DENIED.withDescription(
                "This server only answers queries: it refuses " + refused + "."), new Metadata());
          }
          if (!closed) {
            super.onMessage(message);
          }
        }

        public void onHalfClose() {
          if (!closed) {
            super.onHalfClose();
          }
        }
      };
    }

    /** What of a message is refused, in words; null when nothing is. parent: the type of the
        message that holds it. */
    static String refused(Message message, String parent) {
      String name = message.getDescriptorForType().getName();
      if (name.startsWith("CommonInlineUserDefined") || name.equals("TypedAggregateExpression")) {
        return "functions and data sources of users";
      }
      if (name.equals("CompressedOperation")) {
        return "compressed plans";
      }
      for (Object each : message.getAllFields().entrySet()) {
        Map.Entry field = (Map.Entry) each;
        String key = ((org.sparkproject.connect.protobuf.Descriptors.FieldDescriptor)
            field.getKey()).getName();
        if (parent.equals("Set") && name.equals("KeyValue") && key.equals("key")
            && !ReadOnly.maySet((String) field.getValue())) {
          return "to set " + field.getValue();
        }
        if (name.equals("Command") && !COMMANDS.contains(key)) {
          return key;
        }
        if (name.endsWith("Artifact") && String.valueOf(field.getValue()).startsWith("cache/")) {
          return "local data of more than 64 MB (createDataFrame)"; // SPARK_SETTINGS of server.py
        }
        if (name.equals("DataSource") && key.equals("format")
            && !FORMATS.contains(field.getValue())) {
          return "the data source " + field.getValue();
        }
        Collection values = field.getValue() instanceof Collection
            ? (Collection) field.getValue() : Collections.singleton(field.getValue());
        for (Object value : values) {
          String refused = value instanceof Message ? refused((Message) value, name) : null;
          if (refused != null) {
            return refused;
          }
        }
      }
      return name.equals("AddArtifactsRequest") ? "files and classes of users" : null;
    }
  }

  /** (SparkSession, Delta Lake's parser) -> one that keeps the values of a query's parameters, for
      SparkSessionExtensions.injectParser. Delta Lake's drops them
      (https://github.com/delta-io/delta/issues/7640). */
  public static class Parsers extends AbstractFunction2 {
    public Object apply(Object session, final Object delta) {
      return new SparkSqlParser() {
        public LogicalPlan parsePlan(String statement) {
          try {
            return ((ParserInterface) delta).parsePlan(statement);
          } catch (ParseException error) {
            org.apache.spark.unsafe.Platform.throwException(error);
            return null;
          }
        }

        public LogicalPlan parsePlanWithParameters(String statement, ParameterContext values) {
          LogicalPlan plan = parsePlan(statement);
          if (values instanceof NamedParameterContext) {
            scala.collection.immutable.Map named = ((NamedParameterContext) values).params();
            return named.isEmpty() ? plan
                : new NameParameterizedQuery(plan, named.keys().toSeq(), named.values().toSeq());
          }
          scala.collection.immutable.Seq listed = ((PositionalParameterContext) values).params();
          return listed.isEmpty() ? plan : new PosParameterizedQuery(plan, listed);
        }
      };
    }
  }

  /** JDBC: any user name, and the token as the password. */
  public static class Password implements PasswdAuthenticationProvider {
    public void Authenticate(String user, String password) throws AuthenticationException {
      String token = System.getenv("SPARK_CONNECT_AUTHENTICATE_TOKEN");
      if (!MessageDigest.isEqual(token.getBytes(), String.valueOf(password).getBytes())) {
        throw new AuthenticationException("wrong password: it is the token of make serve");
      }
    }
  }
}
