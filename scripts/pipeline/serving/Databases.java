// The databases of the feeds in Spark's catalogue, created without a look at their tables: Spark
// opens a table when a query names it. CREATE TABLE would open it at once, for a second a feed.
// Compiled as ReadOnly.java is.

package pipeline.serving;

import java.net.URI;
import java.util.*;
import org.apache.spark.sql.catalyst.TableIdentifier;
import org.apache.spark.sql.catalyst.catalog.*;

public class Databases {
  private final SessionCatalog catalog;
  private final String folder;
  private final List entries = new ArrayList();

  /** model: a database with a feed's tables, as any data source, and its view. folder: where the
      feeds lie, as an address that ends in a slash. */
  public Databases(SessionCatalog catalog, String model, String folder) throws Exception {
    this.catalog = catalog;
    this.folder = folder;
    for (Object each : scala.jdk.javaapi.CollectionConverters.asJava(catalog.listTables(model))) {
      entries.add(catalog.getTableRawMetadata((TableIdentifier) each));
    }
  }

  /** Creates the database of a feed; its tables are Delta tables in the feed's folder. */
  public void create(String feed) throws Exception {
    scala.collection.immutable.Map none = scala.collection.immutable.Map$.MODULE$.empty();
    catalog.createDatabase(
        new CatalogDatabase(feed, "", catalog.getDefaultDBPath(feed), none), true);
    for (Object each : entries) {
      CatalogTable entry = (CatalogTable) each;
      String name = entry.identifier().table();
      Map changed = new HashMap();
      changed.put("identifier", new TableIdentifier(name, new scala.Some(feed)));
      if (entry.viewText().isDefined()) { // it names its tables without their database
        changed.put("properties",
            entry.properties().updated("view.catalogAndNamespace.part.1", feed));
      } else {
        Map place = new HashMap();
        place.put("locationUri", new scala.Some(new URI(folder + feed + "/" + name)));
        changed.put("storage", copy(entry.storage(), place));
        changed.put("provider", new scala.Some("delta"));
        changed.put("tableType", CatalogTableType.EXTERNAL());
      }
      catalog.createTable((CatalogTable) copy(entry, changed), true, false);
    }
  }

  /** Drops a feed's database. Nothing in HDFS is touched: its tables are external ones. */
  public void drop(String feed) {
    catalog.dropDatabase(feed, true, true);
  }

  /** The copy of an object of a Scala case class, with other values of some fields. */
  private static Object copy(scala.Product object, Map changed) throws Exception {
    Object[] values = new Object[object.productArity()];
    for (int place = 0; place < values.length; place++) {
      String name = object.productElementName(place);
      values[place] = changed.containsKey(name) ? changed.get(name) : object.productElement(place);
    }
    return object.getClass().getConstructors()[0].newInstance(values);
  }
}
